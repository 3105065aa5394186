"""Work shared out among threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = min(4, os.cpu_count() or 1)
"""Threads where nobody says how many; more would wait for the same disk."""


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result]:
    """The results of `work` on all items, as they come, not in order.

    After a fault no new item is begun, what was under way still comes, and then the first fault is raised. A generator
    that is closed early waits for what is under way. Items are taken one by one, under a lock.
    """
    assert workers >= 1
    results: SimpleQueue[tuple[Result] | BaseException | None] = SimpleQueue()
    feed, lock, stop = iter(items), threading.Lock(), threading.Event()

    def run() -> None:
        try:
            while not stop.is_set():
                try:
                    with lock:
                        item = next(feed)
                except StopIteration:
                    break
                results.put((work(item),))
        except BaseException as fault:  # noqa: BLE001  (raised again in the thread that waits)
            stop.set()
            results.put(fault)
        finally:
            results.put(None)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    faults: list[BaseException] = []
    running = workers
    try:
        while running:
            match results.get():
                case None:
                    running -= 1
                case BaseException() as fault:
                    faults.append(fault)
                case (result,):
                    yield result
        if faults:
            raise faults[0]
    finally:
        stop.set()
        for thread in threads:
            thread.join()

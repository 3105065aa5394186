"""Loops in processes of their own that take turns: only one computes at a time, and each turn is beside its rivals'."""

from __future__ import annotations

import multiprocessing
import random
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.throughput.loops import LOOPS, join
from benchmarks.throughput.setting import Setting, device


@dataclass(frozen=True)
class Contender:
    """One of the loops, and what it trains."""

    loop: str
    setting: Setting


@dataclass(frozen=True)
class Taken:
    """Seconds of a step, the median of each turn, and the most memory of the device that the process had."""

    seconds: list[float]
    memory: int

    def tokens_per_second(self, setting: Setting) -> float:
        """The median over all turns."""
        return setting.tokens / statistics.median(self.seconds)

    def over(self, other: Taken) -> tuple[float, float, float]:
        """Its speed in units of the other's, turn by turn: median, least, most."""
        ratios = [theirs / mine for mine, theirs in zip(self.seconds, other.seconds, strict=True)]
        return statistics.median(ratios), min(ratios), max(ratios)


def take_turns(contenders: Mapping[str, Contender], rounds: int, steps: int) -> dict[str, Taken]:
    """`rounds` turns of `steps` steps for each, in an order drawn anew for each round."""
    spawn = multiprocessing.get_context("spawn")
    threads = torch.get_num_threads()
    order, draw = list(contenders), random.Random(0)
    pipes: dict[str, Connection] = {}
    for name, contender in contenders.items():
        pipes[name], theirs = spawn.Pipe()
        spawn.Process(target=_work, args=(contender, theirs, steps, threads), daemon=True).start()
        theirs.close()  # so that this end hears of it when the process fails
        pipes[name].recv()  # it is built and has taken a turn that is not counted
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    memory: dict[str, int] = {}
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            pipes[name].send("go")
            taken, memory[name] = pipes[name].recv()
            seconds[name].append(taken)
    for pipe in pipes.values():
        pipe.close()
    return {name: Taken(seconds[name], memory[name]) for name in contenders}


def _work(contender: Contender, pipe: Connection, steps: int, threads: int) -> None:
    torch.set_num_threads(threads)
    if contender.loop != "trainer":
        join()
    with tempfile.TemporaryDirectory() as folder:
        loop = LOOPS[contender.loop](contender.setting, Path(folder))
        loop.turn(1)
        pipe.send("ready")
        try:
            while pipe.recv():
                pipe.send((statistics.median(loop.turn(steps)), _memory()))
        except EOFError:
            return


def _memory() -> int:
    return torch.cuda.max_memory_allocated() if device().type == "cuda" else 0

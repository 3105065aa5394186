"""The Copied parts of a plan moved into its output files, chunk by chunk, recorded as they reach the disk."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from growc.diagnostics import fail
from growc.files.copying import Copier, opened, write
from growc.files.ledger import Ledger
from growc.files.plan import Made, OutputFile, Plan
from growc.files.progress import Listener, Meter
from growc.files.ranges import Range, chunks, interleaved, ranges
from growc.files.workers import in_parallel

CHUNK = 64 << 20
"""Bytes of a chunk, except where a range ends: a killed call does a few of them again. A multiple of 64 KiB."""

MOST_CHUNKS = 8192
"""Roughly; chunks of larger checkpoints are larger, so that memory does not depend on bytes."""

SYNC_SECONDS = 5.0
"""Time between two records of what is on the disk."""


def fill(plan: Plan, folder: Path, workers: int, listener: Listener | None) -> None:
    """Make every output file of `plan` in `folder` whole, beginning where an earlier call stopped.

    What was moved last may not be on the disk yet when this returns.

    Raises:
        GrowcError: GROW652 (a file is missing, or not as an earlier call left it).
        OSError: the system refuses; what is done is recorded.
        Shortened: a source is shorter than it was.
    """
    size = CHUNK * (1 + plan.size // (CHUNK * MOST_CHUNKS))
    work: list[list[tuple[int, Range]]] = []
    count = 0
    for number, output in enumerate(plan.outputs):
        cut = [chunk for whole in ranges(number, output) for chunk in chunks(whole, size)]
        work.append(list(enumerate(cut, start=count)))
        count += len(cut)
    with Ledger(folder, {"chunk": size, "chunks": count, "bytes": plan.size}) as ledger:
        for output in plan.outputs:
            _make(folder, output, begun=bool(ledger.done))
        _Filling(plan, folder, ledger).run(work, workers, listener)


def _make(folder: Path, output: OutputFile, *, begun: bool) -> None:
    """The file at its full size, with its header, and all holes but for what is in it already."""
    path = folder / output.name
    size = path.stat().st_size if path.exists() else 0
    if size < (output.size if begun else _end_of_made(output)):
        fail("GROW652", f"{path} is missing, or cut short", help=f"remove {folder} and run the same command again")
    with opened(path, os.O_RDWR | os.O_CREAT) as handle:
        os.ftruncate(handle, output.size)
        write(handle, output.head(), 0)


def _end_of_made(output: OutputFile) -> int:
    end = 0
    for start, tensor in output.places():
        for part in tensor.parts:
            start += part.length
            if isinstance(part, Made) and part.length:
                end = start
    return end


class _Filling:
    """One pass over the chunks that are left."""

    def __init__(self, plan: Plan, folder: Path, ledger: Ledger) -> None:
        self._plan, self._folder, self._ledger = plan, folder, ledger
        self._copier = Copier()
        self._unsynced: defaultdict[int, list[int]] = defaultdict(list)
        self._broken = False

    def run(self, work: Sequence[Sequence[tuple[int, Range]]], workers: int, listener: Listener | None) -> None:
        total = sum(chunk.length for file in work for _, chunk in file)
        left = [[item for item in file if item[0] not in self._ledger.done] for file in work]
        done = total - sum(chunk.length for file in left for _, chunk in file)
        meter = Meter(listener, "copying", total, done)
        synced = time.monotonic()
        try:
            with closing(in_parallel(self._copy, interleaved(map(iter, left), workers), workers)) as copied:
                for number, chunk in copied:
                    self._unsynced[chunk.output].append(number)
                    meter.add(chunk.length)
                    if time.monotonic() - synced > SYNC_SECONDS:
                        self._sync()
                        synced = time.monotonic()
        except BaseException:  # whatever stops it, what is done is worth recording
            self._sync()
            raise

    def _copy(self, item: tuple[int, Range]) -> tuple[int, Range]:
        chunk = item[1]
        path = self._folder / self._plan.outputs[chunk.output].name
        with opened(self._plan.sources[chunk.source].path) as source, opened(path, os.O_RDWR) as target:
            try:
                self._copier.copy(source, target, chunk.start, chunk.to, chunk.length)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
        return item

    def _sync(self) -> None:
        """Bring finished chunks to the disk, then record them.

        After a failure nothing is recorded any more: the system tells of lost pages only once, so a later success
        would prove nothing.
        """
        if self._broken:
            return
        self._broken = True
        for output in self._unsynced:
            with opened(self._folder / self._plan.outputs[output].name, os.O_RDWR) as handle:
                os.fdatasync(handle)
        self._ledger.record(number for numbers in self._unsynced.values() for number in numbers)
        self._unsynced.clear()
        self._broken = False

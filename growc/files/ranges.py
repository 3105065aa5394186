"""What is to be copied, as few ranges as possible, cut into chunks that are done and recorded one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from growc.files.plan import Copied, OutputFile


@dataclass(frozen=True, slots=True)
class Range:
    """`length` bytes from byte `start` of source file number `source` to byte `to` of output file number `output`."""

    source: int
    start: int
    output: int
    to: int
    length: int


def ranges(number: int, output: OutputFile) -> Iterator[Range]:
    """The copies that output file `number` consists of, neighbours in source and output taken together."""
    held: Range | None = None
    for to, tensor in output.places():
        for part in tensor.parts:
            if isinstance(part, Copied) and part.length:
                if (
                    held
                    and (held.source, held.start + held.length, held.to + held.length) == (part.file, part.start, to)
                ):  # fmt: skip
                    held = Range(held.source, held.start, number, held.to, held.length + part.length)
                else:
                    if held:
                        yield held
                    held = Range(part.file, part.start, number, to, part.length)
            to += part.length
    if held:
        yield held


def chunks(whole: Range, size: int) -> Iterator[Range]:
    """The range cut where its source byte is a multiple of `size`: aligned pieces stay aligned."""
    done = 0
    while done < whole.length:
        start = whole.start + done
        length = min(size - start % size, whole.length - done)
        yield Range(whole.source, start, whole.output, whole.to + done, length)
        done += length


def interleaved(files: Iterable[Iterator[tuple[int, Range]]], lanes: int) -> Iterator[tuple[int, Range]]:
    """Chunks of several files by turns, `lanes` files at a time: threads that take them rarely meet in one file.

    A file system lets only one thread at a time write to a file.
    """
    waiting = iter(files)
    open_: deque[Iterator[tuple[int, Range]]] = deque()
    while True:
        while len(open_) < lanes and (more := next(waiting, None)) is not None:
            open_.append(more)
        if not open_:
            return
        lane = open_.popleft()
        item = next(lane, None)
        if item is not None:
            open_.append(lane)
            yield item

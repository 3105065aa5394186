"""Which tensors, or experts' parts of a stack, are stored as a delta, and against which; from names, sizes and digests.

Two pieces with equal bytes are always found, whatever they are called. Pieces that differ are siblings where whoever
knows the model says so. A wrong guess would cost bytes and time, and never the bytes that come back: a delta is exact
against any base.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from growc.files.headers import Entry
from growc.files.plan import Copied, PlannedTensor

Groups = Mapping[int, Sequence[int]]
"""Sizes of the groups of siblings in the order of experts, by decoder layer."""

LEAST = 256
"""Bytes of a piece below which a stack is left whole: its place in the index would cost more than it saves."""


def pieces(file: int, entry: Entry, groups: Groups) -> PlannedTensor:
    """A tensor of file number `file`, whose parts are the pieces that are compared with others.

    A stack of experts has one for each: a tensor of three or more axes, or of as many rows as its layer has experts.
    """
    length = entry.end - entry.start
    layer, expert, _ = _place(entry.name)
    rows = entry.shape[0] if entry.shape else 1
    experts = sum(groups.get(layer, ())) if layer is not None else 0
    stacked = len(entry.shape) > 2 or rows == experts
    count = rows if expert is None and stacked and rows and not length % rows and length // rows >= LEAST else 1
    size = length // count
    parts = tuple(Copied(file, entry.start + number * size, size) for number in range(count))
    return PlannedTensor(entry.name, entry.dtype, entry.shape, parts)


def bases(tensors: Iterable[PlannedTensor], digests: Iterable[bytes], groups: Groups) -> list[int | None]:
    """For every piece of all tensors the number of an earlier one to store it against, if there is one.

    Args:
        tensors: in the order in which they are stored.
        digests: of all their pieces; equal ones count as a hint, as the bytes are compared again.
        groups: of siblings that need not be equal.
    """
    found: list[int | None] = []
    equal: dict[tuple[int, bytes], int] = {}
    first: dict[tuple[str, int, int], int] = {}
    starts = {layer: list(accumulate(sizes, initial=0)) for layer, sizes in groups.items()}
    for number, ((length, sibling), digest) in enumerate(zip(_siblings(tensors, starts), digests, strict=True)):
        base = equal.setdefault((length, digest), number)
        if base == number and sibling is not None:
            base = first.setdefault((*sibling, length), number)
        found.append(base if base < number and length else None)
    return found


def _siblings(
    tensors: Iterable[PlannedTensor], starts: Mapping[int, list[int]]
) -> Iterator[tuple[int, tuple[str, int] | None]]:
    """The length of every piece, and what only its siblings have: a name without the expert's number, and a group."""
    for tensor in tensors:
        layer, expert, alike = _place(tensor.name)
        bounds = starts.get(layer) if layer is not None else None
        for row, part in enumerate(tensor.parts):
            slot = row if expert is None else expert
            if bounds is None or slot >= bounds[-1]:
                yield part.length, None
            else:
                yield part.length, (alike, bisect_right(bounds, slot))


def _place(name: str) -> tuple[int | None, int | None, str]:
    """The layer and the expert that a tensor's name tells, and the name without the latter's number."""
    parts = name.split(".")
    numbers = [at for at, part in enumerate(parts) if part.isascii() and part.isdecimal() and len(part) < 10]
    layer = int(parts[numbers[0]]) if numbers else None
    if len(numbers) < 2:
        return layer, None, name
    expert = int(parts[numbers[1]])
    return layer, expert, ".".join((*parts[: numbers[1]], "*", *parts[numbers[1] + 1 :]))

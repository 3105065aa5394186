"""The order of tensors in a file: such that few long ranges of the source make it, which lie as they did there.

Wider dtypes come first, as the safetensors library has it, so that every tensor is aligned. Within a dtype tensors
stand in the order of their source bytes, so that neighbours stay neighbours and thousands of tensors are tens of
ranges. A stretch that is used again follows at once if its length is a multiple of 64 KiB: all that comes after it
then moves by such a multiple. Any other repetition waits for the end, where it displaces nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from growc.files.headers import BITS
from growc.files.plan import Copied, PlannedTensor

CONGRUENCE = 64 * 1024
"""Bytes."""


def anchor(tensor: PlannedTensor) -> Copied | None:
    """The first part that comes from a source."""
    return next((part for part in tensor.parts if isinstance(part, Copied) and part.length), None)


def ordered(tensors: Iterable[PlannedTensor]) -> Iterator[PlannedTensor]:
    """The tensors of one file, in order; all Copied parts come from one source."""
    wide_first = sorted(tensors, key=lambda tensor: -BITS[tensor.dtype])
    for _, alike in groupby(wide_first, key=lambda tensor: BITS[tensor.dtype]):
        yield from _of_one_width(alike)


@dataclass(frozen=True, slots=True)
class _Piece:
    """The tensors that begin with the same source bytes; the original is the first."""

    start: int
    uses: tuple[PlannedTensor, ...]

    @property
    def is_whole(self) -> bool:
        """Whether its tensors are nothing but the same source bytes."""
        return all(len(use.parts) == 1 and use.nbytes == self.uses[0].nbytes for use in self.uses)

    @property
    def displaces(self) -> bool:
        """Whether all that follows would lie better without the first tensor: it is no longer what it was."""
        part = anchor(self.uses[0])
        assert part is not None
        return (self.uses[0].nbytes - part.length) % CONGRUENCE != 0 and part.length % CONGRUENCE == 0


def _of_one_width(tensors: Iterable[PlannedTensor]) -> Iterator[PlannedTensor]:
    found: defaultdict[int, list[PlannedTensor]] = defaultdict(list)
    rest: list[PlannedTensor] = []
    for tensor in tensors:
        part = anchor(tensor)
        (found[part.start] if part else rest).append(tensor)
    waiting: list[tuple[int, int, PlannedTensor]] = []
    for stretch in _stretches([_Piece(start, tuple(uses)) for start, uses in sorted(found.items())]):
        at_once = len(stretch[0].uses) if _is_multiple(stretch) else int(not stretch[0].displaces)
        for number in range(at_once):
            yield from (piece.uses[number] for piece in stretch)
        waiting += [(n, piece.start, use) for piece in stretch for n, use in enumerate(piece.uses) if n >= at_once]
    yield from (tensor for *_, tensor in sorted(waiting, key=lambda entry: entry[:2]))
    yield from rest


def _is_multiple(stretch: Sequence[_Piece]) -> bool:
    return stretch[0].is_whole and sum(piece.uses[0].nbytes for piece in stretch) % CONGRUENCE == 0


def _stretches(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """The pieces as stretches of neighbours that are used equally often.

    Where the length is no multiple of 64 KiB, it is so because of small pieces, which are left to themselves then.
    """
    for stretch in _neighbours(pieces):
        if _is_multiple(stretch):
            yield stretch
        else:
            for small, group in groupby(stretch, key=lambda piece: piece.uses[0].nbytes < CONGRUENCE):
                some = list(group)
                yield from ([piece] for piece in some) if small else [some]


def _neighbours(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    held: list[_Piece] = []
    for piece in pieces:
        if held and not (
            held[-1].is_whole
            and piece.is_whole
            and held[-1].start + held[-1].uses[0].nbytes == piece.start
            and len(held[-1].uses) == len(piece.uses)
        ):
            yield held
            held = []
        held.append(piece)
    if held:
        yield held

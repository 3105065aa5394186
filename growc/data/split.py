"""Which data belongs to which part: each file to one part only, so that no part has seen another's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

from growc.data.files import DataFile, reading

Boundary = Callable[[Path, int], int]
"""Moves an offset in a file forward to a place where it may be cut."""

_SEARCH = 1 << 20
_NOTHING = 1e-9


@dataclass(frozen=True)
class Piece:
    """A range of bytes of one file."""

    path: Path
    start: int
    stop: int


def split(files: Sequence[DataFile], shares: Sequence[float], seed: int, boundary: Boundary) -> list[tuple[Piece, ...]]:
    """Divide files among shares of the whole; no byte belongs to two shares.

    Several files go whole to one share each, in an order that depends on `seed` and on their names alone;
    every share then comes within the size of the largest file of what it asks for. A single file is cut into
    ranges, in the order of the shares.

    Args:
        files: What to divide.
        shares: Fractions of the total size in bytes, together at most 1; what is left over goes to nobody.
        seed: Of the order.
        boundary: Where a single file may be cut.

    Returns:
        The pieces of each share. A share is empty where the files are too few or too large for it.
    """
    assert files and all(share > 0 for share in shares) and sum(shares) < 1 + _NOTHING
    if len(files) == 1:
        return _cut(files[0], shares, boundary)
    return _deal(files, shares, seed)


def _cut(file: DataFile, shares: Sequence[float], boundary: Boundary) -> list[tuple[Piece, ...]]:
    pieces: list[tuple[Piece, ...]] = []
    start = 0
    for total in accumulate(shares):
        stop = file.size if total > 1 - _NOTHING else max(start, boundary(file.path, round(total * file.size)))
        pieces.append((Piece(file.path, start, stop),) if stop > start else ())
        start = stop
    return pieces


def _deal(files: Sequence[DataFile], shares: Sequence[float], seed: int) -> list[tuple[Piece, ...]]:
    """Give each file to the share that is furthest from its aim, in proportion, among those it still fits.

    So every share is served all along, with files of all sizes. A file that fits none goes to the one that
    lacks most: whoever is exceeded lacked less than that file, and so did all others, hence the bound of one
    file on all errors.
    """
    total = sum(file.size for file in files)
    rest = 1 - sum(shares)
    aims = [share * total for share in (*shares, *([rest] if rest > _NOTHING else []))]
    lacking = list(aims)
    given: list[list[Piece]] = [[] for _ in aims]
    # Ordered by a hash rather than by a generator, whose algorithm may change between versions of Python.
    for file in sorted(files, key=lambda file: sha256(f"{seed}:{file.name}".encode()).digest()):
        fitting = [index for index, size in enumerate(lacking) if size >= file.size]
        if fitting:
            taker = max(fitting, key=lambda index: lacking[index] / aims[index])
        else:
            taker = max(range(len(aims)), key=lambda index: lacking[index])
        given[taker].append(Piece(file.path, 0, file.size))
        lacking[taker] -= file.size
    return [tuple(sorted(pieces, key=lambda piece: piece.path)) for pieces in given[: len(shares)]]


def after_line(path: Path, offset: int) -> int:
    """The first offset, from `offset` on, where a line begins or the file ends."""
    return _find_line(path, offset, limit=None)


def after_line_or_character(path: Path, offset: int) -> int:
    """Where a line begins, or, in a text of very long lines, where a UTF-8 character begins."""
    line = _find_line(path, offset, limit=_SEARCH)
    if line < path.stat().st_size:
        return line
    with reading(path) as file:
        file.seek(offset)
        following = file.read(4)
    # The second to fourth bytes of a character have the high bits 10.
    return offset + next((i for i, byte in enumerate(following) if byte & 0xC0 != 0x80), len(following))


def after_tokens(width: int) -> Boundary:
    """A boundary between tokens of `width` bytes."""
    return lambda _, offset: offset // width * width


def _find_line(path: Path, offset: int, limit: int | None) -> int:
    """The beginning of a line within `limit` bytes of `offset`; the end of the file if there is none."""
    size = path.stat().st_size
    end = size if limit is None else min(size, offset + limit)
    position = max(offset - 1, 0)  # the newline just before `offset` makes `offset` itself a beginning
    if offset == 0:
        return 0
    with reading(path) as file:
        file.seek(position)
        while position < end and (block := file.read(min(1 << 16, end - position))):
            newline = block.find(b"\n")
            if newline >= 0:
                return position + newline + 1
            position += len(block)
    return size

"""Rows of tensors in memory as the blocks that they are cut into on disk.

Where the tensors on disk, put one after the other, are the bytes of a row, another layout of the same row is a matter
of cutting elsewhere. Which they are is known from `growc.checkpoint.row_mapping`; how large they are, from the real
tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from growc.checkpoint.row_mapping import Pattern, RowSlice

Row = tuple[str, int | None]
"""A row of a tensor in memory, or None for all of its rows in turn."""


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes `begin` to `end` of a row, which are those of the tensor `disk`, or of one of its rows."""

    disk: str
    begin: int
    end: int


def blocks(
    holds: Mapping[str, RowSlice | None], sizes: Mapping[str, int], memory: Mapping[str, tuple[int, int]]
) -> dict[Row, Sequence[Block]]:
    """The blocks of every row that consists of some, in order.

    Args:
        holds: what tensors on disk hold.
        sizes: bytes of each.
        memory: how many rows each tensor in memory has, and the bytes of one.
    """
    known: dict[Pattern, bool] = {}
    found: dict[Row, list[tuple[Pattern, str]]] = {}
    for disk, hold in holds.items():
        if hold is not None and known.setdefault(hold.pattern, _is_run(hold.pattern)):
            found.setdefault((hold.name, hold.row), []).append((hold.pattern, disk))
    rows: dict[Row, Sequence[Block]] = {}
    for (name, row), pieces in found.items():
        count, size = memory[name]
        laid = _laid(sorted(pieces), sizes, count if row is None else 1)
        if laid and laid[-1].end == size:
            rows[name, row] = laid
    return rows


def _is_run(pattern: Pattern) -> bool:
    return pattern == tuple(range(pattern[0], pattern[0] + len(pattern)))


def _laid(pieces: Sequence[tuple[Pattern, str]], sizes: Mapping[str, int], share: int) -> list[Block]:
    """The pieces one after the other; nothing if they leave something out between them, or overlap."""
    laid: list[Block] = []
    reached = at = 0
    for pattern, disk in pieces:
        if pattern[0] != reached:
            return []
        laid.append(Block(disk, at, at + sizes[disk] // share))
        reached, at = pattern[-1] + 1, laid[-1].end
    return laid

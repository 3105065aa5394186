"""Where the rows of a grown tensor come from: a row that only moves keeps its bytes, all others are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from growc.programs import Expr, Merge, Source, Take, Where

Row = tuple[str, int]
"""A row of a source tensor: its name and its index along dimension 0."""

Origin = Callable[[str, Sequence[int]], list[Row | None]]
"""For a tensor and rows of it: the row that each is a copy of, or None where it is computed."""


def stays(name: str, rows: Sequence[int]) -> list[Row | None]:
    """The origin of rows that no program has touched: themselves."""
    return [(name, row) for row in rows]


def origin(program: Expr, rows: Sequence[int], before: Origin) -> list[Row | None]:
    """The origin of rows of what `program` makes, where its sources have the origins `before`.

    Args:
        program: with its deferred vectors bound.
        rows: row numbers.
        before: the origins of the rows that the program reads, when growths are chained.
    """
    match program:
        case Source(name):
            return before(name, rows)
        case Take(x, index, dim) if dim == 0:
            assert isinstance(index, tuple)
            return origin(x, [int(index[row]) for row in rows], before)
        case Where(mask, x, y):
            assert isinstance(mask, tuple)
            chosen = {row: origin(x if mask[row] else y, [row], before)[0] for row in set(rows)}
            return [chosen[row] for row in rows]
        case Merge(x, sizes) if set(sizes) == {1}:
            return origin(x, rows, before)
        case _:
            return [None] * len(rows)

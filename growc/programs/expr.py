"""The expressions of a tensor program.

A program is a tree of these nodes over tensors of the source model. Rows (dimension 0) are the unit that executors
move: every node is evaluated row by row, so a rank computes just the rows that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Late:
    """A vector whose length is known when the plan is made and whose values are bound at run time.

    Indices that depend on measured utility are late: they are computed once from globally reduced statistics,
    recorded in the run's journal, and never recomputed.
    """

    key: str
    length: int


Vector = tuple[float, ...] | tuple[int, ...] | Late


@dataclass(frozen=True)
class Source:
    """A tensor of the source model, by name."""

    name: str


@dataclass(frozen=True)
class Take:
    """Rows of `x`: row i of the result is row `index[i]` of `x`."""

    x: Expr
    index: Vector


@dataclass(frozen=True)
class Scale:
    """`x` times a number, times a vector along the rows, or times a scalar expression."""

    x: Expr
    by: float | Vector | Std


@dataclass(frozen=True)
class Add:
    """The sum of two tensors of one shape."""

    x: Expr
    y: Expr


@dataclass(frozen=True)
class Std:
    """The standard deviation over all elements of a source tensor (a scalar)."""

    x: Source


@dataclass(frozen=True)
class Init:
    """Fresh values. Each row is drawn from a generator of its own, seeded by (`seed`, row), so that the bytes do not
    depend on which rank or chunk draws them.

    `normal` has mean 0 and standard deviation `scale`; `uniform` lies in (-scale, scale); `zeros` ignores it.
    """

    shape: tuple[int, ...]
    distribution: Literal["normal", "uniform", "zeros"]
    scale: float
    seed: str


Expr = Source | Take | Scale | Add | Init

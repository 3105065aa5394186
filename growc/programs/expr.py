"""The expressions of a tensor program.

A program is a tree of these nodes over tensors of the source model. Rows (dimension 0) are the unit that executors
move: every node is evaluated row by row, so a rank computes just the rows that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Deferred:
    """A vector whose length is known when the plan is made and whose values are bound at run time.

    Indices that depend on measured utility, and means over calibration text, are deferred: they are computed once from
    globally reduced statistics, recorded in the run's journal, and never recomputed.
    """

    key: str
    length: int


Vector = tuple[float, ...] | tuple[int, ...] | Deferred


@dataclass(frozen=True)
class Source:
    """A tensor of the source model, by name; of several sources, see `growc.programs.parents`."""

    name: str


@dataclass(frozen=True)
class Take:
    """Rows of `x`, or slices along another dimension: slice i of the result is slice `index[i]` of `x`."""

    x: Expr
    index: Vector
    dim: int = 0


@dataclass(frozen=True)
class Scale:
    """`x` times a number, times a vector along the rows or another dimension, or times a scalar expression."""

    x: Expr
    by: float | Vector | Std
    dim: int = 0


@dataclass(frozen=True)
class Divide:
    """`x` divided by a vector along the rows.

    Not `Scale` by the inverse: a quotient is rounded once. Multiplying it again gives every number back bit for bit
    where the divisor is a power of two, and up to the last bit elsewhere.
    """

    x: Expr
    by: Vector


@dataclass(frozen=True)
class Where:
    """Rows of `x` where `mask` is 1, and of `y` where it is 0."""

    mask: Vector
    x: Expr
    y: Expr


@dataclass(frozen=True)
class Apply:
    """A named function of rows: row i of the result is `function` of row i of every input, of the first one's shape.

    What is random in it is a function of (`seed`, row) alone; functions that draw nothing have no seed.
    `growc.numerics.functions` holds the functions.
    """

    function: str
    inputs: tuple[Expr, ...]
    parameters: tuple[tuple[str, float | int | str], ...] = ()
    seed: str = ""


@dataclass(frozen=True)
class Pick:
    """Some intermediate units of every row of `x`, which is one expert's part of a tensor.

    Row i keeps units `units[i * kept]` to `units[(i + 1) * kept - 1]`; with only `kept` units, all rows keep these.
    Along dimension `dim` of a row there are `times` positions for each of n units: position t of unit u is
    `u * times + t` where they are `interleaved`, and `t * n + u` where not (see `growc.anatomy.sites.Units`).
    """

    x: Expr
    units: Vector
    kept: int
    dim: int
    times: int
    interleaved: bool


@dataclass(frozen=True)
class Add:
    """The sum of two tensors of one shape."""

    x: Expr
    y: Expr


@dataclass(frozen=True)
class Concat:
    """The rows of all inputs, one after another; `sizes` are the numbers of rows of each."""

    inputs: tuple[Expr, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Slerp:
    """Tensors of one shape, each seen as one vector, interpolated on the sphere so that all count alike.

    From the first one half of the angle to the second is gone, from there a third of the angle to the third, and so on.
    Vectors that lie on one line are averaged.
    """

    inputs: tuple[Source, ...]


@dataclass(frozen=True)
class Mean:
    """The mean of tensors of one shape, each counted by its weight; the weights sum to 1.

    It is computed as the first tensor plus what the others have over it, so that equal ones give their bits back.
    """

    inputs: tuple[Expr, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Merge:
    """One row for every run of `sizes` rows of `x`: their mean or their sum.

    It is computed as the first row plus what the others have over it, so that equal rows give their bits back.
    """

    x: Expr
    sizes: tuple[int, ...]
    by: Literal["mean", "sum"]


@dataclass(frozen=True)
class Std:
    """The standard deviation over all elements of a source tensor, or of the rows of `x` where `mask` is 1 (a scalar).

    With a mask every rank gathers those rows: for small tensors only.
    """

    x: Source | Take
    mask: Vector | None = None


@dataclass(frozen=True)
class Whole:
    """Rows of a named function of a whole source tensor: row i is row `index[i]` of `function(x)`, as large as `x`.

    For small tensors only: every rank gathers `x` and computes the function of all of it, so that the bytes are those
    of one rank. What is random in it is a function of (`seed`, `draw[i]`): rows of one draw come from one value of
    the function, rows of another from a value of their own. Functions that draw nothing have no seed.
    `growc.numerics.matrices` holds the functions.
    """

    function: str
    x: Source
    rows: int
    index: Vector
    draw: Vector
    parameters: tuple[tuple[str, float | int | str], ...] = ()
    seed: str = ""


@dataclass(frozen=True)
class Made:
    """A named function of whole source matrices, and after them of `vectors`, of `shape`.

    For small tensors only: every rank gathers the inputs, of which `rows` has the length of dimension 0, and computes
    all of the function, so that the bytes are those of one rank. What is random in it is a function of `seed` alone;
    functions that draw nothing have no seed. `growc.numerics.router_init` holds the functions.
    """

    function: str
    inputs: tuple[Source, ...]
    rows: tuple[int, ...]
    shape: tuple[int, ...]
    parameters: tuple[tuple[str, float | int | str], ...] = ()
    seed: str = ""
    vectors: tuple[Vector, ...] = ()


@dataclass(frozen=True)
class AsExperts:
    """The matrices of a dense feed-forward network as a stack of experts, one for each of `shards` shares of its units.

    Row s has the s-th share of the intermediate units of every part, side by side along dimension `dim` of the row:
    part after part, or `interleaved` unit by unit. In the parts the units run along dimension `along`; a matrix is
    transposed where the two differ. Parts without units (`along` None: the bias of the way back) are whole in each row.
    Every rank gathers the parts that its rows need.

    `rows` has the length of dimension 0 of every part, and `scales` a factor on each (none: 1).
    """

    parts: tuple[Source, ...]
    rows: tuple[int, ...]
    along: Literal[0, 1] | None
    dim: int
    interleaved: bool = False
    shards: int = 1
    scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class Init:
    """Fresh values. Each is a function of `seed` and of its place in the whole tensor alone, so that the bytes do not
    depend on which rank, thread or block draws them.

    `normal` has mean 0 and standard deviation `scale`; `uniform` lies in (-scale, scale); `constant` is `scale`
    everywhere; `zeros` ignores it; `below` are whole numbers from 0 on and below `scale`. What is drawn is a number of
    float32, rounded to the dtype that is asked for.
    """

    shape: tuple[int, ...]
    distribution: Literal["normal", "uniform", "constant", "zeros", "below"]
    scale: float
    seed: str


OfSeveral = Concat | Mean | Slerp
Expr = Source | Take | Pick | Scale | Divide | Where | Apply | Whole | Made | Add | OfSeveral | Merge | AsExperts | Init

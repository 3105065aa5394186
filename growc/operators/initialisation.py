"""What initialisations of copies have in common: a small frozen model with a definition, and the slots to fill."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from growc.anatomy.matches import OfMixture
from growc.anatomy.sites import MoeSite
from growc.operators.claims import Preserves, Problem
from growc.programs import Expr, Source, Take, Vector, Where, Whole


class Initialisation(BaseModel):
    """How the copies of one kind of tensor start; the fields are the YAML beside `init`.

    `formula` defines a copy in plain text: W_i the source expert (or router row r_i) that slot (i, c) copies, c > 1
    for copies, j the source expert that it is mixed with. `source` says where it was published, `preserves` what
    becomes of the function that the layer computes, and `cost` what it takes beyond copying bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    formula: ClassVar[str]
    source: ClassVar[str]
    preserves: ClassVar[str]
    cost: ClassVar[str]
    claim: ClassVar[Preserves]
    """`EXACTLY`: a copy computes what its original does; `NEARLY`: almost; `NOT`: something else."""
    example: ClassVar[Mapping[str, Any]] = {}
    """The settings beside `init` with which tests run it on small models."""

    def problems(self, site: MoeSite) -> Iterator[Problem]:  # noqa: ARG002, for those that have some
        """Why copies cannot start like this in one layer, if they cannot."""
        yield from ()

    def seconds(self, slots: Slots) -> float:  # noqa: ARG002, for those that compute
        """How long one core takes for the copies in one tensor, beyond copying bytes; see `growc.operators.work`."""
        return 0.0


def unless_said(init: str) -> Callable[[Any], Any]:
    """What reads the YAML where `init` may be left out, and is then this one."""
    return lambda value: {"init": init, **value} if isinstance(value, dict) and "init" not in value else value


@dataclass(frozen=True)
class Slots:
    """The rows of one grown tensor: `count` slots along dimension 0, each made from rows of the source tensor.

    `vector` gives a vector over the slots by its name in `growc.anatomy.replicas.VECTORS`.
    """

    tensor: OfMixture
    count: int
    vector: Callable[[str], Vector]

    @property
    def source(self) -> Source:
        """The source tensor, with a row for each source expert."""
        return Source(self.tensor.name)

    @property
    def copied(self) -> Take:
        """Every slot a copy of its source expert."""
        return Take(self.source, self.vector("order"))

    @property
    def copies(self) -> int:
        """How many slots hold copies."""
        return self.count - self.tensor.before[0]

    @property
    def fresh(self) -> int:
        """How many weights the copies have."""
        return self.copies * prod(self.tensor.before[1:])

    @property
    def neighbour(self) -> Take:
        """For every slot the expert that it is mixed with: the c-th copy of expert i gets expert i + c, in a circle."""
        return Take(self.source, self.vector("neighbour"))

    def of_whole(self, function: str, seed: str = "", **parameters: float | str) -> Whole:
        """Slot (i, c) gets row i of a function of the whole tensor, drawn anew for every c: for small tensors only."""
        given = tuple(parameters.items())
        rows, order, turn = self.tensor.before[0], self.vector("order"), self.vector("turn")
        return Whole(function, self.source, rows, order, turn, given, seed)

    def on_copies(self, fresh: Expr) -> Expr:
        """`fresh` where a slot holds a copy; originals stay what they were, bit for bit."""
        return Where(self.vector("copies"), fresh, self.copied)

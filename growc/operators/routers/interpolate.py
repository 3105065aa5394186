"""Router rows between two experts."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Add, Expr, Scale


class Interpolate(RouterInit):
    """A copy's row lies between its source's and that of the next expert (Table 10): the c-th copy goes towards i + c.

    `own` is alpha of the paper's version 2; its code gives alpha to the next expert.
    """

    formula: ClassVar = "r_(i,c) = own * r_i + (1 - own) * r_j for c > 1, j = i + c - 1 in a circle"
    source: ClassVar = "arXiv 2604.19835 v2, Appendix D, Table 10"
    preserves: ClassVar = "not: a copy is chosen for tokens of two experts, and computes what one of them does"
    cost: ClassVar = "one sum per new router weight"
    claim: ClassVar = Preserves.NOT

    init: Literal["interpolate"]
    own: float = Field(default=0.5, gt=0, lt=1, description="share of the copied row; the next expert's has the rest")

    @override
    def rows(self, slots: Slots) -> Expr:
        return slots.on_copies(Add(Scale(slots.copied, self.own), Scale(slots.neighbour, 1 - self.own)))

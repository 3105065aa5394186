"""Antisymmetric split of router rows."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Add, Expr, Init, Scale, Std, Take


class Split(RouterInit):
    """Siblings get r + v and r - v, v random: each wins the tokens on its side, and their mean stays the source's row.

    The odd one of three or more is no exception: with no v it would stand between its siblings for every token, and
    never win one.
    """

    formula: ClassVar = "r_(i,c) = r_i + (-1)^(c-1) v, v ~ N(0, (std * std(r))^2), one v for each pair of siblings"
    source: ClassVar = "growc; no paper"
    preserves: ClassVar = "nearly: the better sibling stands above its source by |v.x|"
    cost: ClassVar = "one normal draw per router weight"
    claim: ClassVar = Preserves.NEARLY

    init: Literal["split"] = "split"
    std: float = Field(default=0.1, gt=0, description="standard deviation of v in units of the router weight's own")

    @override
    def rows(self, slots: Slots) -> Expr:
        v = Scale(Init((slots.count, slots.tensor.before[1]), "normal", self.std, slots.tensor.name), Std(slots.source))
        return Add(slots.copied, Scale(Take(v, slots.vector("pair")), slots.vector("sign")))

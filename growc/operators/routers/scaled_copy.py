"""Scaled copies of router rows."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Expr, Scale


class ScaledCopy(RouterInit):
    """The copies' rows times a number (Table 10).

    Below 1 a copy stands under its original where their logit is positive and above it where the logit is negative.
    `temperature` is the same on rows, written as a divisor, and scales a bias of the logits too.
    """

    formula: ClassVar = "r_(i,c) = scale * r_i for c > 1"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 10"
    preserves: ClassVar = "nearly: under exclusive routing the better sibling's logit is max(z, scale * z)"
    cost: ClassVar = "one product per new router weight"
    claim: ClassVar = Preserves.NEARLY

    init: Literal["scaled_copy"]
    scale: float = Field(default=0.95, gt=0, description="factor on the copies' rows: below 1 softer, above 1 sharper")

    @override
    def rows(self, slots: Slots) -> Expr:
        return slots.on_copies(Scale(slots.copied, self.scale))

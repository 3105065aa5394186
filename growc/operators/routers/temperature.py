"""Copies of router rows at another temperature."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Expr, Scale


class Temperature(RouterInit):
    """The copies' logits divided by a temperature: rows, and the bias of the logits where there is one (Table 10).

    On rows this is `scaled_copy` with scale 1 / temperature, as in the published code, whose factor .9 is temperature
    1.11; the two differ only in families with a bias of the logits. A selection bias is no part of the logits.
    """

    formula: ClassVar = "r_(i,c) = r_i / temperature, b_(i,c) = b_i / temperature for a bias of the logits, c > 1"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 10"
    preserves: ClassVar = "nearly: under exclusive routing the better sibling's logit is max(z, z / temperature)"
    cost: ClassVar = "one product per new router weight"
    claim: ClassVar = Preserves.NEARLY

    init: Literal["temperature"]
    temperature: float = Field(default=1.1, gt=0, description="of the copies' logits: above 1 softer, below 1 sharper")

    @override
    def rows(self, slots: Slots) -> Expr:
        return slots.on_copies(Scale(slots.copied, 1 / self.temperature))

    @override
    def logit_bias(self, slots: Slots) -> Expr:
        return slots.on_copies(Scale(slots.copied, 1 / self.temperature))

"""Copies that are a little smaller, or larger."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit
from growc.operators.initialisation import Slots
from growc.programs import Expr, Scale


class ScaledCopy(ExpertInit):
    """Every weight of a copy times one factor (Table 9). A gated expert's output then has about the factor's cube."""

    formula: ClassVar = "W_(i,c) = scale * W_i"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 9"
    preserves: ClassVar = "nearly, for a scale near 1"
    cost: ClassVar = "none: one product per new weight"
    claim: ClassVar = Preserves.NEARLY

    init: Literal["scaled_copy"]
    scale: float = Field(default=0.95, gt=0, le=2, description="factor on every weight of the copies")

    @override
    def weight(self, slots: Slots) -> Expr:
        return slots.on_copies(Scale(slots.copied, self.scale))

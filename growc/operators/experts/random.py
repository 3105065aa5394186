"""Experts from scratch beside the trained ones: the control."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit, of_originals
from growc.operators.initialisation import Slots
from growc.operators.work import drawn
from growc.programs import Expr, Init, Scale, Std


class Random(ExpertInit):
    """New experts are drawn anew, at the scale of the trained ones: the control that shows what copying is worth."""

    formula: ClassVar = "W_(i,c) ~ N(0, std(W)^2) for c > 1"
    source: ClassVar = "arXiv 2604.19835, Section 5.3.2 (random new experts)"
    preserves: ClassVar = "not: half of what the router chooses is noise"
    cost: ClassVar = "one normal draw per new weight"
    claim: ClassVar = Preserves.NOT

    init: Literal["random"]

    @override
    def weight(self, slots: Slots) -> Expr:
        shape = (slots.count, *slots.tensor.before[1:])
        return slots.on_copies(Scale(Init(shape, "normal", 1.0, slots.tensor.name), Std(slots.source)))

    @override
    def seconds(self, slots: Slots) -> float:
        return drawn(slots.fresh)

    @override
    def gradient(self, slots: Slots) -> Expr:
        return of_originals(slots)

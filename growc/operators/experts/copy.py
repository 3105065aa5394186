"""Copies of experts, exactly."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit
from growc.operators.initialisation import Slots
from growc.programs import Expr


class Copy(ExpertInit):
    """Identical twins (Table 9)."""

    formula: ClassVar = "W_(i,c) = W_i"
    source: ClassVar = "arXiv 2604.19835, Section 3.1"
    preserves: ClassVar = "exactly under exclusive routing; under free routing the K_eff law says what is lost"
    cost: ClassVar = "none: bytes are copied"
    claim: ClassVar = Preserves.EXACTLY

    init: Literal["copy"] = "copy"

    @override
    def weight(self, slots: Slots) -> Expr:
        return slots.copied

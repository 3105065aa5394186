"""Copies of router rows, exactly."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Expr


class Copy(RouterInit):
    """Siblings share their row (Section 3.1)."""

    formula: ClassVar = "r_(i,c) = r_i; b_(i,c) = b_i + e, e ~ U(-bias_noise, bias_noise) for c > 1"
    source: ClassVar = "arXiv 2604.19835, Definition 3.1"
    preserves: ClassVar = "exactly under exclusive routing; under free routing siblings tie"
    cost: ClassVar = "none: bytes are copied"
    claim: ClassVar = Preserves.EXACTLY

    init: Literal["copy"] = "copy"

    @override
    def rows(self, slots: Slots) -> Expr:
        return slots.copied

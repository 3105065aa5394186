"""Copies of router rows that differ in their bias."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Add, Expr, Init, Scale, Std


class BiasOnly(RouterInit):
    """Siblings share their row and differ in the bias that decides: a shift and Gaussian noise (Table 10).

    A positive shift favours copies ("bias enc dup" in Table 12), a negative one originals ("bias disc dup"). Under
    exclusive routing with a selection bias the shift only names the winner among siblings, until balancing moves it.
    The uniform noise `bias_noise` of every initialisation may be added.
    """

    formula: ClassVar = (
        "r_(i,c) = r_i; b_(i,c) = b_i + shift + e for c > 1, e ~ N(0, noise^2) in units of std(b) or absolute"
    )
    source: ClassVar = "arXiv 2604.19835, Appendix D, Tables 10 and 12"
    preserves: ClassVar = (
        "exactly under exclusive routing where the bias is one of selection; nearly where it is one of the logits; "
        "under free routing a shift as large as the scores lies apart takes copies out of the choice, or originals"
    )
    cost: ClassVar = "one normal draw per copy"
    claim: ClassVar = Preserves.EXACTLY

    init: Literal["bias_only"]
    noise: float = Field(default=0.1, ge=0, description="standard deviation of the noise on the bias of copies")
    unit: Literal["std", "absolute"] = Field(
        default="std", description="std: noise in units of the bias' standard deviation; absolute: of the bias"
    )
    shift: float = Field(
        default=0.0, description="added to the bias of copies, in units of the bias: > 0 favours copies, < 0 originals"
    )

    @property
    @override
    def moves_bias(self) -> bool:
        return self.noise > 0 or self.shift != 0 or self.bias_noise > 0

    @override
    def rows(self, slots: Slots) -> Expr:
        return slots.copied

    @override
    def bias(self, slots: Slots, start: Expr) -> Expr:
        moved = start
        if self.shift:
            moved = Add(moved, Init((slots.count,), "constant", self.shift, ""))
        if self.noise:
            noise = Init((slots.count,), "normal", self.noise, f"{slots.tensor.name}/bias_only")
            moved = Add(moved, noise if self.unit == "absolute" else Scale(noise, Std(slots.source)))
        return slots.on_copies(super().bias(slots, moved))

"""Copies of experts with Gaussian noise."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit
from growc.operators.initialisation import Slots
from growc.operators.work import drawn
from growc.programs import Add, Expr, Init, Scale, Std


class CopyNoise(ExpertInit):
    """Calibrated Gaussian noise on every weight of the copies (Table 9)."""

    formula: ClassVar = "W_(i,c) = W_i + e, e ~ N(0, noise^2), in units of std(W) over all experts or absolute"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 9"
    preserves: ClassVar = "nearly: the copies differ by the noise"
    cost: ClassVar = "one normal draw per new weight"
    claim: ClassVar = Preserves.NEARLY

    init: Literal["copy_noise"]
    noise: float = Field(default=0.01, gt=0, description="standard deviation of the noise")
    unit: Literal["std", "absolute"] = Field(
        default="std", description="std: in units of the tensor's own standard deviation; absolute: of the weights"
    )

    @override
    def weight(self, slots: Slots) -> Expr:
        shape = (slots.count, *slots.tensor.before[1:])
        noise = Init(shape, "normal", self.noise, slots.tensor.name)
        return slots.on_copies(Add(slots.copied, noise if self.unit == "absolute" else Scale(noise, Std(slots.source))))

    @override
    def seconds(self, slots: Slots) -> float:
        return drawn(slots.fresh)

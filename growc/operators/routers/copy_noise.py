"""Copies of router rows with Gaussian noise."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Add, Expr, Init, Scale, Std


class CopyNoise(RouterInit):
    """Gaussian noise on the copies' rows, in units of the standard deviation of the source's whole router (Table 10).

    Originals keep their rows. `perturb_new_only` does the same in units of the copied rows alone, and with uniform
    allocation the two are one.
    """

    formula: ClassVar = "r_(i,c) = r_i + e for c > 1, e ~ N(0, noise^2) in units of std(r) or absolute"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 10"
    preserves: ClassVar = "nearly: under exclusive routing the better sibling stands above its source by max(0, e.x)"
    cost: ClassVar = "one normal draw per new router weight"
    claim: ClassVar = Preserves.NEARLY

    init: Literal["copy_noise"]
    noise: float = Field(default=0.01, gt=0, description="standard deviation of the noise")
    unit: Literal["std", "absolute"] = Field(
        default="std", description="std: in units of the router weight's standard deviation; absolute: of the weights"
    )

    @override
    def rows(self, slots: Slots) -> Expr:
        noise = Init((slots.count, *slots.tensor.before[1:]), "normal", self.noise, slots.tensor.name)
        return slots.on_copies(Add(slots.copied, noise if self.unit == "absolute" else Scale(noise, Std(slots.source))))

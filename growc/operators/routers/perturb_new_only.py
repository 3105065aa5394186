"""Copies of router rows with noise in units of the copied rows."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Add, Expr, Init, Scale, Std


class PerturbNewOnly(RouterInit):
    """Original rows stay, only the copies' are perturbed (Table 10), in units of the copies' own deviation.

    So do all initialisations here: what tells this one from `copy_noise` is the unit, as in the published code. Where
    utility gives copies to some experts only, theirs are the rows that count; with uniform allocation the two are one.
    """

    formula: ClassVar = "r_(i,c) = r_i + e for c > 1, e ~ N(0, (noise * std)^2), std over the rows of all copies"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 10"
    preserves: ClassVar = "nearly: under exclusive routing the better sibling stands above its source by max(0, e.x)"
    cost: ClassVar = "one normal draw per new router weight; the copied rows are gathered for their deviation"
    claim: ClassVar = Preserves.NEARLY

    init: Literal["perturb_new_only"]
    noise: float = Field(
        default=0.02, gt=0, description="standard deviation of the noise in units of that of the copies' rows"
    )

    @override
    def rows(self, slots: Slots) -> Expr:
        noise = Init((slots.count, *slots.tensor.before[1:]), "normal", self.noise, slots.tensor.name)
        unit = Std(slots.copied, slots.vector("copies"))
        return slots.on_copies(Add(slots.copied, Scale(noise, unit)))

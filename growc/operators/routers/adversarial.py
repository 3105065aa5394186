"""Router rows pushed back towards the mean row."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Add, Expr, Scale


class Adversarial(RouterInit):
    """A copy's row moves against what tells its source from the mean of all rows (Table 10).

    With strength 1 it is the mean row, beyond that it lies on the other side.
    """

    formula: ClassVar = "r_(i,c) = r_i - strength (r_i - mean(r)) for c > 1"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 10"
    preserves: ClassVar = "nearly for a small strength: all copies give up the same share of what tells experts apart"
    cost: ClassVar = "the source router is gathered on every rank for its mean"
    claim: ClassVar = Preserves.NEARLY

    init: Literal["adversarial"]
    strength: float = Field(default=0.1, gt=0, description="share of the difference to the mean row that is taken away")

    @override
    def rows(self, slots: Slots) -> Expr:
        mean = slots.of_whole("mean")
        return slots.on_copies(Add(Scale(slots.copied, 1 - self.strength), Scale(mean, self.strength)))

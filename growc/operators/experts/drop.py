"""Drop-Upcycling between mixtures of experts: a part of every copy is drawn anew."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit, expert_seed, layout, units_of
from growc.operators.initialisation import Slots
from growc.operators.work import drawn
from growc.programs import Apply, Expr, Init


class Drop(ExpertInit):
    """A share of the intermediate units of each copy is drawn anew (Table 9); the rest stays.

    The units are the same in gate, up and down, and others in every copy. What replaces them has the mean and standard
    deviation of what it replaces in each matrix (`fresh: normal`, as in Drop-Upcycling), or mean 0 and the variance
    2 / (fan_in + fan_out) (`xavier`) or 2 / fan_in (`kaiming`), with the fans of the whole matrix and biases of 0.
    Fresh units have no moments; the others keep theirs.
    """

    formula: ClassVar = (
        "W_(i,c) = W_i, but R on the units of a random set S of fraction * f: rows S of gate and up, columns S of down"
    )
    source: ClassVar = "arXiv 2502.19261 (Drop-Upcycling); arXiv 2604.19835, Appendix D, Table 9"
    preserves: ClassVar = "not: that share of every copy's units is noise"
    cost: ClassVar = "one normal draw per new weight"
    claim: ClassVar = Preserves.NOT
    by_units: ClassVar = True

    init: Literal["drop"]
    fraction: float = Field(default=0.5, gt=0, le=1, description="share of the intermediate units that is drawn anew")
    fresh: Literal["normal", "xavier", "kaiming"] = Field(
        default="normal", description="normal: statistics of what is replaced; xavier, kaiming: those of a new matrix"
    )

    @override
    def weight(self, slots: Slots) -> Expr:
        if (units := units_of(slots)) is None:
            return slots.copied
        noise = Init((slots.count, *slots.tensor.before[1:]), "normal", 1.0, slots.tensor.name)
        how = (*layout(units), ("fraction", self.fraction), ("fresh", self.fresh), ("down", int(units.down)))
        return slots.on_copies(Apply("drop_units", (slots.copied, noise), how, expert_seed(slots)))

    @override
    def seconds(self, slots: Slots) -> float:
        return drawn(slots.fresh)

    @override
    def carried(self, slots: Slots) -> Expr:
        if (units := units_of(slots)) is None:
            return slots.copied
        how = (*layout(units), ("fraction", self.fraction))
        return slots.on_copies(Apply("keep_units", (slots.copied,), how, expert_seed(slots)))

"""Copies on the way to the next expert."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit, of_originals
from growc.operators.initialisation import Slots
from growc.programs import Add, Expr, Scale


class Interpolate(ExpertInit):
    """A copy stands between its expert and the next one (Table 9): the c-th copy of expert i goes towards i + c.

    `own` is the share of the expert itself, alpha of the paper's version 2. (Its code, and so its Table 11, has it the
    other way round: alpha 0.2 there is own 0.8 here.) Copies have no moments: what is between two experts computes
    what neither does.
    """

    formula: ClassVar = "W_(i,c) = own * W_i + (1 - own) * W_j, j = i + c - 1 in a circle"
    source: ClassVar = "arXiv 2604.19835 v2, Appendix D, Table 9"
    preserves: ClassVar = "not: the mean of two experts' weights is neither's function"
    cost: ClassVar = "none: two rows are read for one"
    claim: ClassVar = Preserves.NOT
    mixes: ClassVar = True
    example: ClassVar = {"own": 0.8}

    init: Literal["interpolate"]
    own: float = Field(default=0.5, gt=0, lt=1, description="share of the copied expert; the next one has the rest")

    @override
    def weight(self, slots: Slots) -> Expr:
        return slots.on_copies(Add(Scale(slots.copied, self.own), Scale(slots.neighbour, 1 - self.own)))

    @override
    def gradient(self, slots: Slots) -> Expr:
        return of_originals(slots)

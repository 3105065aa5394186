"""Copies whose intermediate units stand in another order."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit, expert_seed, layout, units_of
from growc.operators.initialisation import Slots
from growc.programs import Apply, Expr


class Shuffle(ExpertInit):
    """The intermediate units of each copy in a random order (Table 9), the same for gate, up and down.

    So a copy computes what its source does, with weights that are nowhere near it: averages of siblings, or distances
    between them, mean nothing. (Table 9 permutes the columns of every matrix by itself, which computes something else;
    it reports no figure.)
    """

    formula: ClassVar = "gate_(i,c) = P gate_i, up_(i,c) = P up_i, down_(i,c) = down_i P^T, P a random permutation"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 9, with one permutation for all of an expert's matrices"
    preserves: ClassVar = "exactly under exclusive routing; under free routing the K_eff law says what is lost"
    cost: ClassVar = "one permutation of the units per copy"
    claim: ClassVar = Preserves.EXACTLY
    by_units: ClassVar = True

    init: Literal["shuffle"]

    @override
    def weight(self, slots: Slots) -> Expr:
        if (units := units_of(slots)) is None:
            return slots.copied
        return slots.on_copies(Apply("shuffle", (slots.copied,), layout(units), expert_seed(slots)))

    @override
    def carried(self, slots: Slots) -> Expr:
        return self.weight(slots)

"""Copies at right angles to their source."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit, layout, of_originals, units_of
from growc.operators.initialisation import Slots
from growc.operators.work import orthogonal, spoken
from growc.programs import Apply, Expr


class Orthogonal(ExpertInit):
    """Each matrix of a copy is random, made orthogonal to its source's by one Gram-Schmidt step, and as long (Table 9).

    Orthogonal as a long vector: <W_(i,c), W_i> = 0 for gate, up and down apart. Siblings are orthogonal to their
    source, and to each other as nearly as random vectors are (a cosine of about 1/sqrt(number of weights)). Copies have
    no moments.
    """

    formula: ClassVar = "W_(i,c) = |W_i| e/|e|, e = n - (<n, W_i>/<W_i, W_i>) W_i, n ~ N(0, 1)"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 9"
    preserves: ClassVar = "not: nothing of the expert is left but the sizes of its matrices"
    cost: ClassVar = (
        "one normal draw per new weight, and its products with the source's in float64; a matrix of 4096 x 14336 takes "
        f"a core about {spoken(orthogonal(4096 * 14336))}"
    )
    claim: ClassVar = Preserves.NOT
    by_units: ClassVar = True

    init: Literal["orthogonal"]

    @override
    def weight(self, slots: Slots) -> Expr:
        units = units_of(slots)
        how = layout(units) if units else ()
        return slots.on_copies(Apply("orthogonal", (slots.copied,), how, slots.tensor.name))

    @override
    def seconds(self, slots: Slots) -> float:
        return orthogonal(slots.fresh)

    @override
    def gradient(self, slots: Slots) -> Expr:
        return of_originals(slots)

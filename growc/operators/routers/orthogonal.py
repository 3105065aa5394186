"""Router rows orthogonal to those of their source."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.programs import Apply, Expr


class Orthogonal(RouterInit):
    """A copy's row is orthogonal to its source's and as long, in a random direction (Table 10).

    The published code adds noise to the copy, takes the source's direction out and restores the length: what is left
    is the noise's direction alone, so a random one is drawn at once.
    """

    formula: ClassVar = "r_(i,c) = |r_i| u for c > 1, u a random unit vector with u.r_i = 0"
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 10"
    preserves: ClassVar = "not: copies are chosen for tokens that have nothing to do with what their source learnt"
    cost: ClassVar = "one normal draw per new router weight"
    claim: ClassVar = Preserves.NOT

    init: Literal["orthogonal"]

    @override
    def rows(self, slots: Slots) -> Expr:
        return slots.on_copies(Apply("orthogonal", (slots.copied,), seed=slots.tensor.name))

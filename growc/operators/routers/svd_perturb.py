"""Router rows from a perturbed singular value decomposition."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.initialisation import Slots
from growc.operators.routers.router_init import RouterInit
from growc.operators.work import perturbed
from growc.programs import Expr


class SvdPerturb(RouterInit):
    """The copies' rows are those of the router's matrix with its singular values and vectors perturbed (Table 10).

    The perturbed vectors are made orthonormal again. The published code leaves the signs of that QR decomposition as
    they fall, so that about half of the components change sign whatever the noise; here signs are kept. The c-th copies
    of all experts share one perturbed matrix, and every c has its own.
    """

    formula: ClassVar = (
        "r_(i,c) = row i of U' S' V'^T for c > 1, with U S V^T = r, S' = S (1 + values e), "
        "U' = orthonormal(U + vectors e), V' likewise, e ~ N(0, 1)"
    )
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 10"
    preserves: ClassVar = "nearly for small noise: what the experts' rows share is moved for all of them alike"
    cost: ClassVar = "every rank gathers the source router; a decomposition of it for each copy of the largest group"
    claim: ClassVar = Preserves.NEARLY

    init: Literal["svd_perturb"]
    values: float = Field(
        default=0.1, ge=0, description="standard deviation of the noise on singular values, in units of each of them"
    )
    vectors: float = Field(default=0.05, ge=0, description="standard deviation of the noise on singular vectors")
    unit: Literal["std", "absolute"] = Field(
        default="std",
        description="std: noise on vectors in units of their entries' standard deviation, 1/sqrt(length); absolute: of "
        "the entries, as published",
    )

    @override
    def rows(self, slots: Slots) -> Expr:
        seed = slots.tensor.name
        moved = slots.of_whole("svd_perturb", seed, values=self.values, vectors=self.vectors, unit=self.unit)
        return slots.on_copies(moved)

    @override
    def seconds(self, slots: Slots) -> float:
        rows, *width = slots.tensor.before
        return -(-slots.copies // rows) * perturbed(rows, width[0], None) if width else 0.0

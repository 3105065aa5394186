"""Copies whose singular values and vectors are moved."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit, layout, matrices_of, ranked, units_of
from growc.operators.initialisation import Slots
from growc.operators.work import perturbed, spoken
from growc.programs import Apply, Expr


class SvdPerturb(ExpertInit):
    """Noise on the singular values and vectors of each matrix of a copy, gate, up and down apart (Table 9).

    `values` is the paper's sv and `vectors` its su. Moved vectors are made orthonormal again, from the largest singular
    value down. Biases are copied.

    With a `rank` only that many of the largest singular values and their vectors are moved, and the rest of the matrix
    stays as it is, in a small share of the time. They come from a randomised decomposition (Halko, Martinsson and
    Tropp, 2011): where singular values fall slowly, the last of the vectors are mixtures of those near the rank, so
    which directions move is approximate; without noise the copy is its source for any rank. What is moved may then
    meet what stays, so the result's singular values are near those of the formula and not equal to them.
    """

    formula: ClassVar = (
        "W_(i,c) = U' S' V'^T of W_i = U S V^T: s'_k = s_k (1 + values e), U' = orthonormal(U + vectors N), V' alike; "
        "e, N normal; the smallest drop * min(d, f) of the s_k are 0"
    )
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 9"
    preserves: ClassVar = "nearly, for small numbers: a matrix moves by about values + 1.4 vectors of its size"
    cost: ClassVar = (
        "a singular value decomposition per new matrix, in float64: for d x f about 10 d f min(d, f) FLOPs, with a "
        f"rank about 12 d f (rank + 10); 4096 x 14336 takes a core about {spoken(perturbed(4096, 14336, None))}, "
        f"{spoken(perturbed(4096, 14336, 64))} with rank 64"
    )
    claim: ClassVar = Preserves.NEARLY
    by_units: ClassVar = True

    init: Literal["svd_perturb"]
    values: float = Field(default=0.1, ge=0, description="standard deviation of the relative change of singular values")
    vectors: float = Field(default=0.05, ge=0, description="size of the change of singular vectors, in `unit`")
    unit: Literal["std", "absolute"] = Field(
        default="std", description="std: relative to a vector's length, which is 1; absolute: of each of its entries"
    )
    drop: float = Field(default=0.0, ge=0, lt=1, description="share of the singular values, smallest first, set to 0")
    rank: int | None = Field(
        default=None,
        ge=1,
        description="how many of the largest singular values and vectors move; null: all, found exactly",
    )

    @model_validator(mode="after")
    def _all_or_some(self) -> Self:
        if self.rank is not None and self.drop:
            raise ValueError("drop takes the smallest singular values, and a rank finds the largest: give one of them")
        return self

    @override
    def weight(self, slots: Slots) -> Expr:
        units = units_of(slots)
        if units is None or len(slots.tensor.before) < 3:
            return slots.copied
        how = (("values", self.values), ("vectors", self.vectors), ("unit", self.unit), ("drop", self.drop))
        how = (*layout(units), *how, *ranked(self.rank))
        return slots.on_copies(Apply("svd_perturb", (slots.copied,), how, slots.tensor.name))

    @override
    def seconds(self, slots: Slots) -> float:
        if (found := matrices_of(slots)) is None:
            return 0.0
        times, units, stream = found
        return slots.copies * times * perturbed(units, stream, self.rank)

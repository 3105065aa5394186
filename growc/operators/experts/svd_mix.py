"""Hybrids of two experts by their singular vectors."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit, layout, matrices_of, of_originals, ranked, units_of
from growc.operators.initialisation import Slots
from growc.operators.work import mixed, spoken
from growc.programs import Add, Apply, Expr, Scale


class SvdMix(ExpertInit):
    """Hybrids of an expert and the next: singular values and vectors mixed, gate, up and down apart (Table 9).

    The k-th pairs of vectors of two experts are first turned to one side (a pair and its negative are the same), and
    the mixed ones made orthonormal again. Biases are mixed as they are. Copies have no moments.

    With a `rank` that many of the largest singular values and their vectors are mixed so, and the rest of both matrices
    is mixed as it is, as by `interpolate`, in a small share of the time. They come from a randomised decomposition
    (Halko, Martinsson and Tropp, 2011): where singular values fall slowly, the last of the vectors are mixtures of
    those near the rank, and the k-th pairs of two experts are paired no better than that.
    """

    formula: ClassVar = (
        "W_(i,c) = U S V^T, U = orthonormal((1 - ratio) U_i + ratio U_j), S = (1 - ratio) S_i + ratio S_j, V alike"
    )
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 9"
    preserves: ClassVar = "not: a hybrid of two experts computes what neither does"
    cost: ClassVar = (
        "two singular value decompositions per new matrix, in float64: for d x f about 10 d f min(d, f) FLOPs each, "
        f"with a rank about 12 d f (rank + 10); 4096 x 14336 takes a core about {spoken(mixed(4096, 14336, None))}, "
        f"{spoken(mixed(4096, 14336, 64))} with rank 64"
    )
    claim: ClassVar = Preserves.NOT
    by_units: ClassVar = True
    mixes: ClassVar = True

    init: Literal["svd_mix"]
    ratio: float = Field(default=0.3, gt=0, lt=1, description="share of the other expert")
    rank: int | None = Field(
        default=None,
        ge=1,
        description="how many of the largest singular values and vectors are mixed as such; null: all, exactly",
    )

    @override
    def weight(self, slots: Slots) -> Expr:
        units = units_of(slots)
        if units is None or len(slots.tensor.before) < 3:
            return slots.on_copies(Add(Scale(slots.copied, 1 - self.ratio), Scale(slots.neighbour, self.ratio)))
        how = (*layout(units), ("ratio", self.ratio), *ranked(self.rank))
        seed = slots.tensor.name if self.rank is not None else ""  # what is exact draws nothing
        return slots.on_copies(Apply("svd_mix", (slots.copied, slots.neighbour), how, seed))

    @override
    def seconds(self, slots: Slots) -> float:
        if (found := matrices_of(slots)) is None:
            return 0.0
        times, units, stream = found
        return slots.copies * times * mixed(units, stream, self.rank)

    @override
    def gradient(self, slots: Slots) -> Expr:
        return of_originals(slots)

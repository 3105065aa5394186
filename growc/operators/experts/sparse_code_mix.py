"""Hybrids of two experts by their sparse codes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.operators.claims import Preserves
from growc.operators.experts.expert_init import ExpertInit, layout, matrices_of, of_originals, units_of
from growc.operators.initialisation import Slots
from growc.operators.work import sparse_codes, spoken
from growc.programs import Add, Apply, Expr, Scale


class SparseCodeMix(ExpertInit):
    """A copy is decoded from a mixture of the sparse codes of its expert and the next one (Table 9).

    The vectors of an expert's units in the stream (rows of gate and of up, columns of down) are coded by ISTA over one
    random dictionary of atoms of length 1, which may have more atoms than the stream is wide. What the codes miss is
    lost. Biases are mixed as they are. Copies have no moments.
    """

    formula: ClassVar = (
        "W_(i,c) = ((1 - mix) C_i + mix C_j) D, C = argmin 1/2 |W - C D|^2 + l |C|_1, l = sparsity * max|W D^T|"
    )
    source: ClassVar = "arXiv 2604.19835, Appendix D, Table 9"
    preserves: ClassVar = "not: a hybrid of what sparse codes keep of two experts"
    cost: ClassVar = (
        "about 4 f * dictionary * (dictionary * iterations + d) FLOPs per new matrix of d x f, in float64; "
        f"4096 x 14336 takes a core about {spoken(sparse_codes(14336, 4096, 512, 100))} with the defaults"
    )
    claim: ClassVar = Preserves.NOT
    by_units: ClassVar = True
    mixes: ClassVar = True
    example: ClassVar = {"dictionary": 48, "iterations": 20}

    init: Literal["sparse_code_mix"]
    dictionary: int = Field(default=512, ge=2, le=65536, description="atoms in the dictionary")
    sparsity: float = Field(
        default=0.1, gt=0, lt=1, description="penalty on codes, in units of the one from which on a vector has no code"
    )
    mix: float = Field(default=0.3, gt=0, lt=1, description="share of the other expert's codes")
    iterations: int = Field(default=100, ge=1, description="steps of ISTA")

    @override
    def weight(self, slots: Slots) -> Expr:
        units = units_of(slots)
        if units is None or len(slots.tensor.before) < 3:
            return slots.on_copies(Add(Scale(slots.copied, 1 - self.mix), Scale(slots.neighbour, self.mix)))
        names = ("dictionary", "sparsity", "mix", "iterations")
        how = (*layout(units), *((name, getattr(self, name)) for name in names))
        return slots.on_copies(Apply("sparse_code_mix", (slots.copied, slots.neighbour), how, slots.tensor.name))

    @override
    def seconds(self, slots: Slots) -> float:
        if (found := matrices_of(slots)) is None:
            return 0.0
        times, units, stream = found
        return slots.copies * times * sparse_codes(units, stream, self.dictionary, self.iterations)

    @override
    def gradient(self, slots: Slots) -> Expr:
        return of_originals(slots)

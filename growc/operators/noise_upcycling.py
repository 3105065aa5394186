"""Noise upcycling: sparse upcycling with noise on some of the weights."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from growc.anatomy.matches import Match, NewExpert
from growc.anatomy.model_graph import ModelGraph
from growc.operators.claims import Paper, Preserves
from growc.operators.dense_to_moe import DenseToMoe, FreshRouter
from growc.operators.example import Example
from growc.operators.facets import TakesLong
from growc.operators.work import drawn
from growc.programs import Apply, Expr, Init


class NoiseUpcycling(DenseToMoe, TakesLong):
    """Every expert is the dense network with N(0, std^2) added to a random half of its weights.

    The baseline of Drop-Upcycling, as its published code has it: half of the entries, a standard deviation of 0.02, and
    a uniform router. The noise is absolute: its size beside the weights is what the model's makes it.
    """

    op: ClassVar = "noise_upcycling"
    paper: ClassVar = Paper("2502.19261", "Drop-Upcycling", 2025)

    std: float = Field(
        default=0.02, gt=0, le=100, description="standard deviation of the noise, in units of the weights"
    )
    fraction: float = Field(default=0.5, gt=0, le=1, description="share of the weights that get noise")
    router: FreshRouter = Field(default=FreshRouter(distribution="uniform"), description="how the router starts")

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.NOT

    @override
    def expert(self, tensor: NewExpert) -> Expr:
        noise = Init(tensor.shape, "normal", self.std, tensor.name)
        where = (("fraction", self.fraction),)
        return Apply("noise_on_some", (self.copies(tensor), noise), where, f"{tensor.name}/where")

    @override
    def seconds(self, tensor: Match) -> float:
        return drawn(prod(tensor.shape)) if isinstance(tensor, NewExpert) else 0.0


EXAMPLES = {
    "half": Example({"experts": 4}, Preserves.NOT, source="dense"),
}

"""Drop-Upcycling: sparse upcycling with a part of every expert drawn anew."""

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
from growc.operators.experts.expert_init import layout
from growc.operators.facets import TakesLong
from growc.operators.work import drawn
from growc.programs import Apply, Expr, Init


class DropUpcycling(DenseToMoe, TakesLong):
    """Every expert is the dense network with a share of its intermediate units drawn anew, others in each expert.

    Rows of gate and up and columns of down of these units get normal values with the mean and the standard deviation of
    what they replace, matrix by matrix. The paper has one set of units for the three matrices (from memory);
    its published code draws one for each (`shared: false`), which leaves few neurons wholly fresh. The permutation of
    the units that the method begins with moves no function and no distribution, and is left out. The router is uniform
    with the published code's standard deviation.
    """

    op: ClassVar = "drop_upcycling"
    paper: ClassVar = Paper("2502.19261", "Drop-Upcycling", 2025)

    ratio: float = Field(default=0.5, gt=0, le=1, description="share r of the intermediate units that is drawn anew")
    shared: bool = Field(default=True, description="whether gate, up and down of an expert have the same units drawn")
    router: FreshRouter = Field(default=FreshRouter(distribution="uniform"), description="how the router starts")

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.NOT

    @override
    def expert(self, tensor: NewExpert) -> Expr:
        units = tensor.units
        if units is None:
            return self.copies(tensor)
        noise = Init(tensor.shape, "normal", 1.0, tensor.name)
        how = (*layout(units), ("fraction", self.ratio), ("fresh", "normal"), ("down", int(units.down)))
        if self.shared:
            return Apply("drop_units", (self.copies(tensor), noise), how, f"{tensor.site.experts}/units")
        return Apply("drop_units", (self.copies(tensor), noise), (*how, ("apart", 1)), f"{tensor.name}/units")

    @override
    def seconds(self, tensor: Match) -> float:
        return drawn(prod(tensor.shape)) if isinstance(tensor, NewExpert) else 0.0


EXAMPLES = {
    "shared": Example({"experts": 4}, Preserves.NOT, source="dense"),
    "apart": Example(
        {"experts": 4, "shared": False, "ratio": 0.25, "optimizer_state": "reset_new"}, Preserves.NOT, source="dense"
    ),
}

"""Symphony-MoE: experts of dense models that were trained apart, their units matched to those of an anchor."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from growc.anatomy.matches import Kept, NewExpert, Projection
from growc.operators.branches import BranchExperts, mean
from growc.operators.claims import Paper, Preserves
from growc.operators.example import Example
from growc.operators.facets import Measures
from growc.operators.matching import ByActivations, order_of
from growc.operators.measures import Measure
from growc.programs import Deferred, Expr, Pick, Slerp, Source, of_parent


class Symphony(BranchExperts, Measures):
    """Dense models of one architecture become one model, each giving an expert whose units are matched to an anchor's.

    The anchor is the first state in `from`. All models read the same calibration text, as much from every part of the
    data that they were trained on; unit j of another model's network takes the place of the anchor's unit whose
    activations its own are most alike, so that the sum over all units is largest (an assignment solver finds it). That
    changes nothing of what the expert computes by itself. Weights of attention projections are interpolated on the
    sphere; embeddings, norms and all else are the mean; the router is drawn from scratch, and top_k is 2.

    Reconstructed: activations are what enters the way back to the residual stream, each unit's scaled to length 1 over
    the calibration text; more than two tensors are interpolated one after another, by 1/2, 1/3, ... of the angle, each
    tensor as one vector; biases of projections are the mean. Not part of growc: models with different vocabularies.
    """

    op: ClassVar = "symphony"
    paper: ClassVar = Paper("2509.18542", "Symphony-MoE", 2025)

    batches: int = Field(
        default=8,
        ge=1,
        le=10_000,
        description="calibration batches of each part of the data that the models were trained on",
    )

    @property
    @override
    def measure(self) -> Measure:
        return ByActivations(self.batches)

    @override
    def shared(self, tensor: Kept) -> Expr:
        if not isinstance(tensor, Projection) or len(tensor.shape) != 2:
            return mean(tensor)
        return Slerp(tuple(Source(of_parent(parent, tensor.name)) for parent in range(tensor.parents)))

    @override
    def branch(self, tensor: NewExpert, parent: int) -> Expr:
        whole, units = super().branch(tensor, parent), tensor.units
        if units is None or parent == 0:  # the bias of the way back has no units
            return whole
        width = tensor.ffn.width
        order = Deferred(order_of(tensor.ffn, parent), width)
        return Pick(whole, order, width, units.dim, units.times, units.interleaved)


EXAMPLES = {
    "plain": Example({}, Preserves.NOT, source="dense", parents=3),
}

"""HyperCloning: a model several times as wide, all of whose features are copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field
from typing_extensions import override

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.width_fields import width_fields
from growc.operators.claims import Paper, Preserves
from growc.operators.example import Example
from growc.operators.widening import Widening


class HyperCloning(Widening):
    """Make the residual stream, the heads and the units of a model `factor` times as many (Section 3).

    Heads keep their width. With `noise`, as in the paper's noisy variant, copies learn apart. A tied head stays tied:
    the gain of the last norm takes the factor, where the authors' code unties or wraps the head.
    """

    op: ClassVar = "hypercloning"
    paper: ClassVar = Paper("2409.12903", "Scaling Smart: Accelerating Large Language Model Pre-training", 2024)

    factor: int = Field(default=2, ge=2, le=64, description="how many times as wide the model becomes")

    @override
    def sizes(self, model: ModelGraph) -> Mapping[str, int]:
        return {field: self.factor * size for field, size in width_fields(model).items()}

    @override
    def on_small(self, model: ModelGraph, small: ModelGraph) -> Self:
        return self


EXAMPLES = {
    "a dense model": Example({}, Preserves.EXACTLY, source="dense"),
    "three times, with noise": Example({"factor": 3, "noise": 0.1}, Preserves.EXACTLY, source="dense"),
    "a mixture": Example({"optimizer_state": "copy"}, Preserves.EXACTLY),
    "a mixture that routes exclusively": Example(
        {"noise": 0.1}, Preserves.EXACTLY, grown_by=({"op": "expert_upcycling", "factor": 2},)
    ),
}

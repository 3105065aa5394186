"""G_stack: the whole model, several times on top of itself."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from growc.anatomy.layer_order import Order
from growc.operators.claims import Paper, Preserves
from growc.operators.deepening import Deepening
from growc.operators.example import Example
from growc.operators.layer_orders import Stack as Stacked


class Stack(Deepening):
    """Stack a model on itself `factor` times: 0 1 2 0 1 2 (G_direct, stacked depthwise: Section 3.2).

    The paper grows early, by a factor of 4, and finds what was copied to be a better start than drawn layers.
    """

    op: ClassVar = "stack"
    paper: ClassVar = Paper("2405.15319", "Stacking Your Transformers", 2024)

    factor: int = Field(default=2, ge=2, le=64, description="how often the model is there in the grown one")

    @override
    def order_of(self, layers: int) -> Order:
        return Stacked(rule="stack", times=self.factor).order_of(layers)


EXAMPLES = {
    "a dense model": Example({}, Preserves.NOT, source="dense"),
    "a mixture, three times": Example({"factor": 3}, Preserves.NOT),
    "closed": Example({"start": "closed"}, Preserves.EXACTLY, source="dense"),
}

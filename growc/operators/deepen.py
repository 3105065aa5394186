"""A deeper model, its layers in any order, with copies open or closed."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from typing_extensions import override

from growc.anatomy.layer_order import Order
from growc.operators.claims import Paper, Preserves
from growc.operators.deepening import Deepening
from growc.operators.example import Example
from growc.operators.layer_orders import LayerOrder


class Deepen(Deepening):
    """Put the layers of a model together anew, some of them several times, by any rule.

    SOLAR's depth up-scaling (arXiv 2312.15166) is `order: {rule: seam, drop: 8}`. LLaMA-Pro's block expansion is
    `order: {rule: every, layers: 4}` with `start: closed`, and its training of the new blocks alone
    `train: {only: new}` of the stage that follows.
    """

    op: ClassVar = "deepen"
    paper: ClassVar = Paper("2401.02415", "LLaMA Pro: Progressive LLaMA with Block Expansion", 2024)

    order: LayerOrder = Field(description="which layers of the source there are, in their order")

    @override
    def order_of(self, layers: int) -> Order:
        return self.order.order_of(layers)


EXAMPLES = {
    "SOLAR": Example(
        {"order": {"rule": "seam", "drop": 1}}, Preserves.NOT, source="dense", grown_by=({"op": "stack"},)
    ),
    "LLaMA-Pro": Example(
        {"order": {"rule": "every", "layers": 2}, "start": "closed"}, Preserves.EXACTLY, source="dense"
    ),
    "the last layer again": Example(
        {"order": {"rule": "last", "layers": 1}, "optimizer_state": "copy"}, Preserves.NOT, source="dense"
    ),
    "a layer less": Example({"order": {"rule": "explicit", "layers": [1]}}, Preserves.NOT, source="dense"),
    "closed mixtures": Example({"order": {"rule": "interpose"}, "start": "closed"}, Preserves.EXACTLY),
    "mixtures that route exclusively": Example(
        {"order": {"rule": "interpose"}, "start": "closed"},
        Preserves.EXACTLY,
        grown_by=({"op": "expert_upcycling", "factor": 2},),
    ),
}

"""In which order the layers of a deeper model come from those of its source: one small class for each rule.

A rule whose number is too large for a model gives layers that it does not have, or nothing new.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from growc.anatomy.layer_order import Order

_FORBID = ConfigDict(frozen=True, extra="forbid")

Count = Annotated[int, Field(ge=1, description="number of layers")]
Times = Annotated[int, Field(ge=2, le=64, description="how often each layer is there in the grown model")]


class Stack(BaseModel):
    """The whole model on top of itself: 0 1 2 0 1 2 (G_stack, arXiv 2405.15319)."""

    model_config = _FORBID
    rule: Literal["stack"]
    times: Times = 2

    def order_of(self, layers: int) -> Order:
        """See the class."""
        return tuple(range(layers)) * self.times


class Interpose(BaseModel):
    """Every layer several times in its place: 0 0 1 1 2 2."""

    model_config = _FORBID
    rule: Literal["interpose"]
    times: Times = 2

    def order_of(self, layers: int) -> Order:
        """See the class."""
        return tuple(layer for layer in range(layers) for _ in range(self.times))


class Every(BaseModel):
    """After every `layers` layers the last of them again: 0 1 1 2 3 3 (LLaMA-Pro, arXiv 2401.02415)."""

    model_config = _FORBID
    rule: Literal["every"]
    layers: Count

    def order_of(self, layers: int) -> Order:
        """See the class."""
        times = (2 if (layer + 1) % self.layers == 0 else 1 for layer in range(layers))
        return tuple(layer for layer, count in enumerate(times) for _ in range(count))


class Last(BaseModel):
    """The last `layers` layers once more: 0 1 2 1 2."""

    model_config = _FORBID
    rule: Literal["last"]
    layers: Count

    def order_of(self, layers: int) -> Order:
        """See the class."""
        return (*range(layers), *range(layers - self.layers, layers))


class Seam(BaseModel):
    """The model without its last `drop` layers, and then without its first `drop` layers (SOLAR, arXiv 2312.15166)."""

    model_config = _FORBID
    rule: Literal["seam"]
    drop: Count

    def order_of(self, layers: int) -> Order:
        """See the class."""
        return (*range(layers - self.drop), *range(self.drop, layers))


class Explicit(BaseModel):
    """The layers as they are listed."""

    model_config = _FORBID
    rule: Literal["explicit"]
    layers: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(min_length=1, description="layers of the source, from 0")
    ]

    def order_of(self, layers: int) -> Order:  # noqa: ARG002, it is known
        """See the class."""
        return tuple(self.layers)


LayerOrder = Annotated[Stack | Interpose | Every | Last | Seam | Explicit, Field(discriminator="rule")]

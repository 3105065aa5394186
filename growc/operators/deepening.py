"""The base of all growth in depth: layer i of the grown model is layer `order[i]` of its source.

Layers that come a second time are copies, with which the model is another function at once; or they start closed: what
they add to the residual stream is multiplied by 0, so that the model stays exactly what it is until they learn.
Where a block ends in a norm its gain is set to 0, else the last maps of its branches are: behind a norm any small input
is blown up to full size, and a block that was closed before the norm opens with a jump.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.layer_order import Order, comes_again, config_in_order
from growc.anatomy.matches import BlockEnd, LayerPart, Match
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import ResolvedMoe, SiteKind
from growc.operators.claims import Moments, Preserves, Problem
from growc.operators.facets import Closes, Drops, ReordersLayers
from growc.operators.operator import Operator
from growc.programs import Expr, Init, Source


class Deepening(Operator, ReordersLayers, Drops, Closes):
    """An operator that makes a model of the layers of its source."""

    site: ClassVar = SiteKind.BLOCK

    start: Literal["copy", "closed"] = Field(
        default="copy",
        description="layers that come again: copies, or closed ones that add nothing to the residual stream at first",
    )
    optimizer_state: Literal["reset_copies", "copy", "reset"] = Field(
        default="reset_copies",
        description="reset_copies: layers that come again start with none; copy: with that of their source, unless "
        "they are closed; reset: none is kept, for any tensor",
    )

    @abstractmethod
    def order_of(self, layers: int) -> Order:
        """The layers that the grown model's come from, of a source of so many."""

    @property
    @override
    def closes(self) -> bool:
        return self.start == "closed"

    @override
    def layer_order(self, model: ModelGraph) -> Order:
        return self.order_of(model.layers)

    @override
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        order, layers = self.order_of(model.layers), model.layers
        if model.layers_field is None:
            message = f"no key of {model.model_type}'s config says how many layers there are"
            yield Problem("GROW396", message, "choose a source whose config states its depth")
        elif shared := next((name for name in model.tied if name.startswith(f"{model.blocks.path}.")), None):
            message = f"{shared} is shared with another layer, and would be shared with its copies too"
            yield Problem("GROW396", message, "choose a source whose layers have weights of their own")
        elif not order or not all(0 <= layer < layers for layer in order):
            asked = ", ".join(map(str, order)) or "none"
            message = f"the grown model would have the layers {asked} of a source with {layers}"
            yield Problem("GROW396", message, f"layers are counted from 0 to {layers - 1}", ("order",))
        elif order == tuple(range(layers)):
            message = f"the grown model would have the {layers} layers of its source, in their order"
            yield Problem("GROW396", message, "ask for more layers", ("order",))

    @override
    def drops(self, model: ModelGraph) -> frozenset[str]:
        order = self.layer_order(model)
        gone = tuple(f"{model.blocks.path}.{layer}." for layer in range(model.layers) if layer not in order)
        return frozenset(name for name in model.tensors if name.startswith(gone))

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        order = self.layer_order(model)
        kept = [layer for place, layer in enumerate(order) if not comes_again(order, place)]
        exact = self.closes and kept == list(range(model.layers))
        return Preserves.EXACTLY if exact else Preserves.NOT

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        return config_in_order(model, self.layer_order(model))

    @override
    def weight(self, tensor: Match) -> Expr:
        match tensor:
            case BlockEnd(again=True):
                return Init(tensor.shape, "constant", tensor.closed_at, seed=tensor.name)
            case LayerPart():
                return Source(tensor.origin)
            case _:
                return Source(tensor.name)

    @override
    def gradient(self, tensor: Match) -> Expr:
        if self.closes and isinstance(tensor, LayerPart) and tensor.again:
            return Init(tensor.shape, "zeros", 0.0, seed=tensor.name)
        return Source(tensor.origin if isinstance(tensor, LayerPart) else tensor.name)

    @override
    def closed(self, tensor: Match) -> bool:
        return self.closes and isinstance(tensor, LayerPart) and tensor.again and not isinstance(tensor, BlockEnd)

    @override
    def moments(self, tensor: Match) -> Moments:
        fresh = isinstance(tensor, LayerPart) and tensor.again and (self.closes or self.optimizer_state != "copy")
        if fresh or self.optimizer_state == "reset":
            return Moments(None, None, keep_step=False)
        return Moments(self.gradient(tensor), self.gradient(tensor), keep_step=True)

"""Models whose layers are those of another, put together anew: layer i comes from layer `order[i]` of the source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from growc.anatomy.grown_format import GROWN
from growc.anatomy.model_graph import ModelGraph

T = TypeVar("T")

Order = tuple[int, ...]
"""For every layer of the grown model, the layer of the source that it comes from."""

LAYER_ORDER = "layer_order"
"""The key under which journals and lineages record it, where layers do not stay."""


def comes_again(order: Order, layer: int) -> bool:
    """Whether another layer before `layer` has come from the same one."""
    return order[layer] in order[:layer]


def config_in_order(model: ModelGraph, order: Order) -> dict[str, Any]:
    """The config with the layers of `model` in this order: their number, what is listed by layer, and what growc says.

    Raises:
        AssertionError: no key of the config says how many layers there are.
    """
    assert model.layers_field is not None
    config = dict(model.config) | {model.layers_field: len(order)}
    config |= {name: [model.config[name][layer] for layer in order] for name in model.layer_lists}
    if section := model.config.get(GROWN):
        layers: Mapping[str, Mapping[str, Any]] = section["layers"]
        moved = {
            str(to): _renamed(layers[str(layer)], model.blocks.path, layer, to)
            for to, layer in enumerate(order)
            if str(layer) in layers
        }
        config[GROWN] = {**section, "layers": moved}
    return config


def _renamed(entry: Mapping[str, Any], path: str, before: int, after: int) -> dict[str, Any]:
    """What a layer's entry says, of another layer: it names the module of its router."""
    router = entry.get("router")
    if router is None:
        return dict(entry)
    return {**entry, "router": f"{path}.{after}.{router.removeprefix(f'{path}.{before}.')}"}


def by_layer_in_order(values: Mapping[int, T], order: Order) -> dict[int, T]:
    """What is known of layers of the source, of those that come from them."""
    return {to: values[layer] for to, layer in enumerate(order) if layer in values}

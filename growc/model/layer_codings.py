"""Configs of models whose layers are those of another in some order, whatever way the family says what a layer is like.

What is listed by layer follows the order. Families also count the first layers of a kind, or list the numbers of those
of a kind. Such keys are found by trying which of them, moved along, gives every layer the kind of that it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, cast

from growc.anatomy.layer_order import Order, config_in_order
from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import GrowcError
from growc.model.axes import pinned
from growc.model.build import REFUSALS, build_meta, load_config
from growc.model.layers import blocks


def fitting_config(model: ModelGraph, order: Order) -> dict[str, Any] | None:
    """The config with the layers of `model` in this order; None if it cannot say so."""
    wanted = tuple(model.blocks.kinds[layer] for layer in order)
    plain = config_in_order(model, order)
    for config in (plain, *_moved_along(plain, model, order)):
        if _kinds(json.dumps(config)) == wanted:
            return config
    return None


@lru_cache(maxsize=256)
def _kinds(config: str) -> tuple[str, ...]:
    """The kinds of the layers of a config; none if there is no such model."""
    try:
        return blocks(build_meta(pinned(load_config(json.loads(config))))).kinds
    except (GrowcError, *REFUSALS):
        return ()


def _moved_along(config: dict[str, Any], model: ModelGraph, order: Order) -> Iterator[dict[str, Any]]:
    """The config with one of its keys that may speak of layers moved along."""
    for key, item in config.items():
        moved = _count(item, order, model.layers) if type(item) is int else _numbers(item, order, model)
        if moved is not None and moved != item and key not in (model.layers_field, *model.layer_lists):
            yield config | {key: moved}


def _count(first: int, order: Order, layers: int) -> int | None:
    """How many layers come from the `first` ones, if these are the first ones again."""
    if first >= layers:
        return len(order)
    count = sum(layer < first for layer in order)
    return count if first > 0 and all(layer < first for layer in order[:count]) else None


def _numbers(item: Any, order: Order, model: ModelGraph) -> list[int] | None:
    """The layers that come from those that are listed, if it is layers that are."""
    listed = set(cast(list[Any], item)) if isinstance(item, list) and _are_numbers(item) else set[Any]()
    if not listed or not listed <= set(range(model.layers)):
        return None
    return [place for place, layer in enumerate(order) if layer in listed]


def _are_numbers(items: list[Any]) -> bool:
    return all(type(one) is int for one in items)

"""How far a token sees: windows, chunks and stretched positions, made small enough for a few tokens to show them.

Which numbers of a config are such is not known by their names: those that move no shape, are larger than the sequences
of the comparison, and change the logits when they become smaller. A scale may be among them, which does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from pydantic import TypeAdapter
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import GrowcError
from growc.model.build import REFUSALS
from growc.model.drawn import draw, logits, tokens
from growc.model.kept import keep

LENGTH = 24
"""Tokens in the sequences on which small models are compared."""

NEAR = 8
"""What every larger window becomes: three of them fit into a sequence."""

ROUNDING = 1e-9

CONFIG = TypeAdapter(dict[str, Any])

Path = tuple[str, ...]


def within_reach(graph: ModelGraph) -> dict[str, Any]:
    """The config of a small model, with `NEAR` for every number that says how far its tokens see, if that is farther
    than `LENGTH`.
    """
    return keep("reach", graph.config, {"length": LENGTH, "near": NEAR}, CONFIG, lambda: _found(graph))


def _found(graph: ModelGraph) -> dict[str, Any]:
    config: dict[str, Any] = dict(graph.config)
    sizes = {graph.layers_field, *(axis.field for axis in graph.axes)}
    far = [path for path in _far(config, graph.layer_lists) if path[0] not in sizes]
    before = _logits(config) if far else None
    for path in far:
        near = _with_near(config, path)
        after = _logits(near)
        if before is not None and after is not None and bool((after - before).abs().max() > ROUNDING):
            config, before = near, after
    return config


def _far(section: Mapping[str, Any], per_layer: tuple[str, ...], path: Path = ()) -> Iterator[Path]:
    """Where a mapping has whole numbers that are larger than `LENGTH`: alone, or one for each layer."""
    for key, item in section.items():
        if isinstance(item, dict):
            yield from _far(cast(dict[str, Any], item), per_layer, (*path, key))
        elif isinstance(item, list) and key not in per_layer:
            continue
        elif not key.endswith("token_id") and any(map(_is_far, _entries(item))):
            yield (*path, key)


def _entries(item: Any) -> list[Any]:
    return cast(list[Any], item) if isinstance(item, list) else [item]


def _is_far(item: object) -> bool:
    return type(item) is int and item > LENGTH


def _with_near(section: Mapping[str, Any], path: Path) -> dict[str, Any]:
    key, *inner = path
    if inner:
        return {**section, key: _with_near(section[key], tuple(inner))}
    entries = [NEAR if _is_far(entry) else entry for entry in _entries(section[key])]
    return {**section, key: entries if isinstance(section[key], list) else entries[0]}


def _logits(config: Mapping[str, Any]) -> Tensor | None:
    """The logits of a drawn model; None if it cannot have this config, or computes no numbers with it."""
    try:
        with torch.no_grad():
            found = logits(draw(config, seed=0), tokens(config["vocab_size"], 1, LENGTH))
    except (GrowcError, *REFUSALS):
        return None
    return found if bool(found.isfinite().all()) else None

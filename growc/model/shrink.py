"""A small version of a model: all that decides how experts are routed is kept, all widths are made small.

Which fields are widths comes from the model's axes. Kept are the number of experts, top-k, routing groups, norms of
gates and scaling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from growc.anatomy.grown_format import GROWN
from growc.anatomy.model_graph import Axis, ModelGraph

WIDTH = 16
"""What every larger width becomes; the residual stream gets twice as much, so that logits stay apart."""

ROWS = 128
"""What every longer table becomes: of words, or of positions."""

TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def shrink(graph: ModelGraph, depth: int) -> dict[str, Any]:
    """The config of the small version of `graph`, with its first `depth` layers."""
    config = dict(graph.config)
    heads = _heads(config)
    for axis in graph.axes:
        if axis.structural or axis.field in (graph.expert_field, *heads, "max_position_embeddings"):
            continue
        config[axis.field] = min(axis.size, ROWS if _counts_rows(axis, graph) else WIDTH)
    config |= heads
    # Widths that follow from others (DeepSeek's head_dim) move no shape; the family derives them again.
    moved = {axis.field for axis in graph.axes}
    config = {k: v for k, v in config.items() if k in moved or not k.endswith("_dim")}
    if "hidden_size" in config:  # some families insist on a whole number of even heads
        whole = 4 * heads.get("num_attention_heads", 1)
        config["hidden_size"] = min(graph.config["hidden_size"], -(-2 * WIDTH // whole) * whole)
        if "head_dim" in moved and _heads_fill_the_stream(graph.config):
            config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    config |= {name: None for name in TOKENS if name in config}
    if "rope_parameters" in config:
        config["rope_parameters"] = _plain_rope(config["rope_parameters"])

    if graph.layers_field is not None:
        config[graph.layers_field] = depth
        config |= {name: config[name][:depth] for name in graph.layer_lists}
        if section := config.get(GROWN):
            kept = {index: entry for index, entry in section["layers"].items() if int(index) < depth}
            config[GROWN] = section | {"layers": kept}
    return config


def _counts_rows(axis: Axis, graph: ModelGraph) -> bool:
    """Whether a field is the length of tables outside of the layers."""
    return all(d.dim == 0 and not d.tensor.startswith(f"{graph.blocks.path}.") for d in axis.dims)


def _heads(config: Mapping[str, Any]) -> dict[str, int]:
    """Query and key-value heads divided by the largest factor that leaves at least one key-value head."""
    query, key_value = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if not query:
        return {}
    if not key_value or query % key_value:
        return {"num_attention_heads": query} | ({"num_key_value_heads": key_value} if key_value else {})
    least = 2 if query == key_value and query % 2 == 0 else 1
    return {"num_attention_heads": query * least // key_value, "num_key_value_heads": least}


def _heads_fill_the_stream(config: Mapping[str, Any]) -> bool:
    """Whether all heads together are as wide as the residual stream; some families run with nothing else."""
    return config["head_dim"] * config["num_attention_heads"] == config["hidden_size"]


def _plain_rope(rope: Any) -> Any:
    """Without stretching by lists of factors, which are as long as the head is wide."""
    if not isinstance(rope, Mapping):
        return rope
    if "rope_type" not in rope:  # one per kind of layer
        return {kind: _plain_rope(inner) for kind, inner in rope.items()}
    if not any(isinstance(item, list) for item in rope.values()):
        return dict(rope)
    kept = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    return {"rope_type": "default", **kept}

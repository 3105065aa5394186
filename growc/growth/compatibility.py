"""Whether models are of one architecture, so that their tensors can be mixed one by one."""

from __future__ import annotations

from growc.anatomy.model_graph import ModelGraph

NOT_THE_FUNCTION = frozenset({"initializer_range", "max_position_embeddings", "use_cache"})
"""Keys of configs that change nothing of what a model computes from its weights; ids of tokens neither."""


def difference(one: ModelGraph, other: ModelGraph) -> str | None:
    """What `other` has otherwise, in words; None where there is nothing."""
    if one.model_type != other.model_type:
        return f"{one.model_type} is not {other.model_type}"
    for name in dict.fromkeys((*one.tensors, *other.tensors)):
        shapes = [list(graph.tensors[name].shape) if name in graph.tensors else None for graph in (one, other)]
        if None in shapes:
            return f"only one of them has {name}"
        if shapes[0] != shapes[1]:
            return f"{name} has shape {shapes[0]} in one and {shapes[1]} in the other"
    for key in sorted(one.config.keys() | other.config.keys()):
        if key in NOT_THE_FUNCTION or key.endswith("_token_id"):
            continue
        values = [graph.config.get(key) for graph in (one, other)]
        if values[0] != values[1]:
            return f"{key} of their configs is {values[0]} in one and {values[1]} in the other"
    return None

"""How long a sequence may be: models with a learned table of positions have no more than its rows."""

from __future__ import annotations

from growc.anatomy.model_graph import ModelGraph
from growc.model.build import load_config

TABLES = ("wpe.weight", "embed_positions.weight", "position_embeddings.weight", "position_embedding.weight")
"""How names of such tables end in transformers."""


def longest_sequence(model: ModelGraph) -> int | None:
    """Tokens in the longest sequence that a model can read; None where positions are computed, and not learned."""
    if not any(name.endswith(TABLES) for name in model.tensors):
        return None
    longest: int | None = getattr(load_config(model.config), "max_position_embeddings", None)
    return longest

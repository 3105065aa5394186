"""Experts that share weights: what cannot be done to one of them alone."""

from __future__ import annotations

from growc.anatomy.model_graph import ModelGraph
from growc.operators.claims import Problem


def sharing(model: ModelGraph) -> Problem:
    """Why experts of such a model are neither copied, merged nor given adjugates."""
    return Problem(
        "GROW363",
        f"experts of this {model.model_type} share adjugates or a base already",
        "change the number of experts first, and let them share weights then",
    )

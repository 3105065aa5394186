"""Experts that share weights: what cannot be done to one of them alone."""

from __future__ import annotations

from growc.operators.claims import Problem
from growc.operators.operator import Growable


def sharing(model: Growable) -> Problem:
    """Why experts of such a model are neither copied, merged nor given adjugates."""
    return Problem(
        "GROW363",
        f"experts of this {model.model_type} share adjugates or a base already",
        "change the number of experts first, and let them share weights then",
    )

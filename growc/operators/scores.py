"""What ranks the experts of a layer: which score, over which of their tensors (arXiv 2604.19835, Section 4.2)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from growc.anatomy.sites import MoeSite

Score = Literal["weight_norm", "gradient_squared", "saliency", "curvature", "random"]
"""||w||, ||g||^2, ||w|| ||g||, ||g||^2 / (||v|| + 1e-8) with v Adam's second moment, or a number drawn in [0, 1)."""

Over = Literal["all", "fc1", "fc2", "both_mean", "both_product", "both_max", "both_min"]
"""Of which tensors of an expert w, g and v are: all, those into its intermediate units (fc1), or those back (fc2)."""

WITHOUT_GRADIENTS: tuple[Score, ...] = ("weight_norm", "random")
"""The scores that follow from the weights alone."""


def parts(site: MoeSite, over: Over) -> tuple[tuple[str, ...], ...]:
    """The expert tensors that are scored together: one group of them, or fc1 and fc2 apart."""
    into = {unit.tensor for unit in site.units if not unit.down}
    fc1 = tuple(name for name in site.expert_tensors if name in into)
    fc2 = tuple(name for name in site.expert_tensors if name not in into)
    match over:
        case "all":
            return (site.expert_tensors,)
        case "fc1":
            return (fc1,)
        case "fc2":
            return (fc2,)
        case _:
            return fc1, fc2


def combined(over: Over, scores: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """One score per expert from those of each of `parts`, in their order.

    fc1 and fc2 are made to sum to 1 over the layer first, so that neither counts for more because it is larger. (The
    published code does so for the product alone, where it changes no ranking.)
    """
    if len(scores) == 1:
        return tuple(scores[0])
    pairs = list(zip(*map(_shares, scores), strict=True))
    match over:
        case "both_product":
            return tuple(a * b for a, b in pairs)
        case "both_max":
            return tuple(max(pair) for pair in pairs)
        case "both_min":
            return tuple(min(pair) for pair in pairs)
        case _:
            return tuple(sum(pair) / 2 for pair in pairs)


def drawn(site: MoeSite, seed: str) -> tuple[float, ...]:
    """The score `random` of every expert: the control, the same wherever it is computed.

    Args:
        site: the layer.
        seed: of the growth step.
    """
    draw = random.Random(f"{seed}/{site.name}/score")
    return tuple(draw.random() for _ in range(site.num_experts))


def _shares(scores: Sequence[float]) -> list[float]:
    """`scores` divided by their sum; scores that are all zero stay so."""
    total = sum(scores) or 1.0
    return [score / total for score in scores]

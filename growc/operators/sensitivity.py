"""Which intermediate units of an expert matter: what ranks them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from growc.anatomy.sites import MoeSite
from growc.operators.allocation import Batches

UnitScore = Literal["sensitivity", "weight_norm", "random"]


class BySensitivity(BaseModel):
    """The units with the highest scores, each expert's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    score: UnitScore = Field(
        default="sensitivity",
        description="sensitivity: |w g| summed over all weights into and out of a unit, with g the gradient of a "
        "batch's loss; weight_norm: the norm of these weights; random: chance (the control)",
    )
    batches: Batches = 10


def widths(site: MoeSite) -> list[int]:
    """How many units each expert of a layer has, shared ones last."""
    return [site.width] * site.num_experts + [ffn.width for ffn in site.shared]


def drawn(site: MoeSite, seed: str) -> tuple[float, ...]:
    """The score `random` of every unit of every expert, the same wherever it is computed."""
    draw = random.Random(f"{seed}/{site.name}/units")
    return tuple(draw.random() for _ in range(sum(widths(site))))


def by_expert(site: MoeSite, scores: Sequence[float]) -> list[Sequence[float]]:
    """The scores of all units of a layer, expert by expert."""
    ends = list(accumulate(widths(site), initial=0))
    assert len(scores) == ends[-1]
    return [scores[start:end] for start, end in pairwise(ends)]


def best_units(scores: Sequence[float], keep: int) -> tuple[int, ...]:
    """The `keep` best units of one expert in ascending order; of equals, the first ones."""
    return tuple(sorted(sorted(range(len(scores)), key=lambda unit: (-scores[unit], unit))[:keep]))


def share_of(scores: Sequence[float], kept: Sequence[int]) -> float:
    """How much of the sum of one expert's scores the units have that stay."""
    return sum(scores[unit] for unit in kept) / (sum(scores) or 1.0)

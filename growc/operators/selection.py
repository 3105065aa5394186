"""Which experts of a layer stay: chosen by what the layer computes without the others, by a score, or by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from growc.anatomy.replicas import Replicas
from growc.operators.allocation import Batches, RankedBy, RankedOver

_FORBID = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

Dropped = tuple[int, ...]
"""Experts that a layer is tried without, in ascending order."""

Errors = Callable[[Sequence[Dropped]], Sequence[float]]
"""How far a layer's output is from the whole layer's without each of several sets of experts."""

TIE = 1e-6
"""Errors closer than this are equal, and the first set is taken: experts that no token reaches differ by rounding."""


class ByReconstruction(BaseModel):
    """The experts without which the layer's output changes least on calibration data (arXiv 2402.14800).

    The error of dropping a set is the sum over the batches of ||F(x) - F_S(x)||_F, where F_S is the layer with the
    logits of the dropped experts at minus infinity, so that the router's own rule chooses and weighs among the others;
    it is told as a share of the sum of ||F(x)||_F. A layer with at most `exhaustive` sets to drop has all of them
    tried, any other drops one expert at a time, the one that costs least.
    """

    model_config = _FORBID
    by: Literal["reconstruction"] = "reconstruction"
    batches: int = Field(
        default=10, ge=1, le=10_000, description="batches of the stage's training data that layers are tried on"
    )
    exhaustive: int = Field(
        default=1000, ge=0, description="the most sets of a layer that are all tried; with more, experts go one by one"
    )
    progressive: bool = Field(
        default=False, description="measure a layer on what it gets after the layers before it were pruned"
    )


class ByScore(BaseModel):
    """The experts with the highest scores."""

    model_config = _FORBID
    by: Literal["score"]
    score: RankedBy = "weight_norm"
    over: RankedOver = "all"
    batches: Batches = 10


class ByName(BaseModel):
    """The experts written out, the same for every layer that is pruned."""

    model_config = _FORBID
    by: Literal["explicit"]
    kept: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, description="the experts that stay, counted from 0")


Choice = Annotated[ByReconstruction | ByScore | ByName, Field(discriminator="by")]


def lowest(scores: Sequence[float], drop: int, groups: int) -> Dropped:
    """The experts with the lowest scores, as many of each of `groups` equal routing groups; of equals the last."""
    size = len(scores) // groups
    parts = [range(start, start + size) for start in range(0, len(scores), size)]
    chosen = [sorted(part, key=lambda i: (scores[i], -i))[: drop // groups] for part in parts]
    return tuple(sorted(expert for part in chosen for expert in part))


def search(experts: int, drop: int, groups: int, exhaustive: int, errors: Errors) -> tuple[Dropped, tuple[float, ...]]:
    """The set to drop, and the error after each step towards it (one step if all sets are tried).

    Args:
        experts: of the layer.
        drop: how many go; each of `groups` equal routing groups loses as many.
        groups: see `MoeSite.routing_groups`.
        exhaustive: the most sets that are all tried.
        errors: of several sets.
    """
    size, each = experts // groups, drop // groups
    parts = [range(start, start + size) for start in range(0, experts, size)]
    if drop == 0:
        return (), ()
    if math.comb(size, each) ** groups <= exhaustive:
        sets = [sum(chosen, ()) for chosen in product(*(combinations(part, each) for part in parts))]
        return _least(sets, errors)
    dropped, steps = Dropped(), tuple[float, ...]()
    for _ in range(drop):
        open_ = [i for part in parts if len({*part} & {*dropped}) < each for i in part if i not in dropped]
        dropped, step = _least([tuple(sorted((*dropped, expert))) for expert in open_], errors)
        steps += step
    return dropped, steps


def _least(sets: Sequence[Dropped], errors: Errors) -> tuple[Dropped, tuple[float, ...]]:
    found = list(errors(sets))
    least = min(found)
    first = next(place for place, error in enumerate(found) if error <= least + TIE)
    return sets[first], (found[first],)


def survivors(experts: int, dropped: Dropped) -> Replicas:
    """1 for an expert that stays, 0 for one that goes."""
    return tuple(int(expert not in dropped) for expert in range(experts))

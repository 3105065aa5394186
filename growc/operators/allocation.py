"""How many copies each expert gets: replicas r_i >= 1 with sum r_i = factor * E (arXiv 2604.19835, Section 3.3)."""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from growc.anatomy.replicas import Replicas
from growc.operators.scores import Over, Score

_FORBID = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

RankedBy = Annotated[
    Score,
    Field(
        description="what ranks the experts of a layer: ||w||, ||g||^2, ||w|| ||g||, ||g||^2 over the norm of Adam's "
        "second moment, or chance (the control)"
    ),
]
RankedOver = Annotated[
    Over,
    Field(
        description="which tensors of an expert are scored: all; fc1, into its intermediate units; fc2, back from "
        "them; or both apart, each divided by its sum over the layer and then combined"
    ),
]
Batches = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        description="batches of the stage's training data over which scores that need gradients are averaged",
    ),
]
Cap = Annotated[int, Field(ge=1, description="the most extra copies that one expert may get")]


class Uniform(BaseModel):
    """Every expert gets the same number of copies."""

    model_config = _FORBID
    rule: Literal["uniform"] = "uniform"


class Greedy(BaseModel):
    """The best expert gets copies until it has `cap` of them, then the next (greedy with replacement).

    With cap 3 and factor 2 a third of the experts are quadrupled and the rest stay single. Only the order of the
    scores matters.
    """

    model_config = _FORBID
    rule: Literal["greedy"]
    score: RankedBy = "gradient_squared"
    over: RankedOver = "all"
    batches: Batches = 10
    cap: Cap = 3


class Sampling(BaseModel):
    """Each copy goes to an expert drawn with probability softmax(u / temperature), among those with fewer than `cap`.

    u is the score in units of its mean over the layer (over the group, where experts are routed in groups), so that one
    temperature means the same for every score and model. As published u is the raw score (`unit: absolute`): with
    temperature 1 squared gradients, which are tiny, then give equal chances. The draws follow from the run's seed.
    """

    model_config = _FORBID
    rule: Literal["sampling"]
    score: RankedBy = "gradient_squared"
    over: RankedOver = "all"
    batches: Batches = 10
    cap: Cap = 3
    temperature: float = Field(
        default=1.0, gt=0, description="of the softmax, in `unit`: towards 0 greedy, large for equal chances"
    )
    unit: Literal["mean", "absolute"] = Field(
        default="mean", description="mean: temperature in units of the mean score; absolute: of the score itself"
    )


class Proportional(BaseModel):
    """Each copy goes to the expert with the highest score per replica: marginal gain, not order alone."""

    model_config = _FORBID
    rule: Literal["proportional"]
    score: RankedBy = "gradient_squared"
    over: RankedOver = "all"
    batches: Batches = 10


class Explicit(BaseModel):
    """The replicas of every expert, written out; the same for every grown layer."""

    model_config = _FORBID
    rule: Literal["explicit"]
    replicas: list[Annotated[int, Field(ge=1)]] = Field(
        description="how many experts of the grown layer come from each source expert", min_length=1
    )


Measured = Greedy | Sampling | Proportional
"""The rules that need scores; `score` and `over` say which, `batches` how many batches they are averaged over."""

Allocation = Annotated[Uniform | Greedy | Sampling | Proportional | Explicit, Field(discriminator="rule")]


def greedy(scores: Sequence[float], copies: int, cap: int) -> Replicas:
    """Replicas when `copies` extra copies go to the best expert first, at most `cap` to each.

    Equal scores go to the lower index, so that every rank and every rerun decides alike.
    """
    assert copies <= cap * len(scores)
    replicas = [1] * len(scores)
    for expert in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        given = min(cap, copies)
        replicas[expert] += given
        copies -= given
    return tuple(replicas)


def sampling(scores: Sequence[float], copies: int, rule: Sampling, seed: str) -> Replicas:
    """Replicas when each of `copies` goes to an expert drawn as `rule` says, from the generator of `seed`."""
    assert copies <= rule.cap * len(scores)
    mean = sum(scores) / len(scores)
    unit = mean if rule.unit == "mean" and mean > 0 else 1.0
    draw, replicas = random.Random(seed), [1] * len(scores)
    for _ in range(copies):
        open_ = [i for i, r in enumerate(replicas) if r <= rule.cap]
        best = max(scores[i] for i in open_)
        weights = [math.exp((scores[i] - best) / unit / rule.temperature) for i in open_]
        bounds = list(accumulate(weights))
        replicas[open_[bisect(bounds, draw.random() * bounds[-1], hi=len(open_) - 1)]] += 1
    return tuple(replicas)


def proportional(scores: Sequence[float], copies: int) -> Replicas:
    """Replicas when each of `copies` goes to the expert with the largest score / replicas."""
    replicas = [1] * len(scores)
    for _ in range(copies):
        replicas[max(range(len(scores)), key=lambda i: (scores[i] / replicas[i], -i))] += 1
    return tuple(replicas)


def allocate(rule: Allocation, scores: Sequence[float], factor: int, groups: int = 1, seed: str = "") -> Replicas:
    """The replicas that `rule` gives the experts of one layer.

    Each of `groups` equal routing groups (DeepSeek's `n_group`) gets the same number of copies, so that siblings stay
    inside the group of their source and the groups stay equal. `seed` is that of what a rule draws in this layer.
    """
    experts = len(scores)
    size = experts // groups
    copies = (factor - 1) * size
    parts: list[Replicas] = []
    for start in range(0, experts, size):
        part = scores[start : start + size]
        match rule:
            case Uniform():
                parts.append((factor,) * size)
            case Greedy(cap=cap):
                parts.append(greedy(part, copies, cap))
            case Sampling():
                parts.append(sampling(part, copies, rule, f"{seed}/{start}"))
            case Proportional():
                parts.append(proportional(part, copies))
            case Explicit(replicas=replicas):
                parts.append(tuple(replicas[start : start + size]))
    return tuple(r for part in parts for r in part)

"""How many copies each expert gets: replicas r_i >= 1 with sum r_i = factor * E (arXiv 2604.19835, Section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from growc.operators.operator import Replicas

Score = Literal["weight_norm", "gradient_squared", "saliency", "curvature"]

_FORBID = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_SCORE = (
    "what ranks the experts of a layer: ||w||, ||g||^2, ||w|| ||g||, or ||g||^2 over the norm of Adam's second moment"
)
_BATCHES = "batches of the stage's training data over which the score is averaged"


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
    score: Score = Field(default="gradient_squared", description=_SCORE)
    batches: int = Field(default=10, ge=1, description=_BATCHES)
    cap: int = Field(default=3, ge=1, description="the most extra copies that one expert may get")


class Proportional(BaseModel):
    """Each copy goes to the expert with the highest score per replica: marginal gain, not order alone."""

    model_config = _FORBID
    rule: Literal["proportional"]
    score: Score = Field(default="gradient_squared", description=_SCORE)
    batches: int = Field(default=10, ge=1, description=_BATCHES)


class Explicit(BaseModel):
    """The replicas of every expert, written out; the same for every grown layer."""

    model_config = _FORBID
    rule: Literal["explicit"]
    replicas: list[Annotated[int, Field(ge=1)]] = Field(
        description="how many experts of the grown layer come from each source expert", min_length=1
    )


Allocation = Annotated[Uniform | Greedy | Proportional | Explicit, Field(discriminator="rule")]


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


def proportional(scores: Sequence[float], copies: int) -> Replicas:
    """Replicas when each of `copies` goes to the expert with the largest score / replicas."""
    replicas = [1] * len(scores)
    for _ in range(copies):
        replicas[max(range(len(scores)), key=lambda i: (scores[i] / replicas[i], -i))] += 1
    return tuple(replicas)


def allocate(rule: Allocation, scores: Sequence[float], factor: int, groups: int = 1) -> Replicas:
    """The replicas that `rule` gives the experts of one layer.

    Each of `groups` equal routing groups (DeepSeek's `n_group`) gets the same number of copies, so that siblings stay
    inside the group of their source and the groups stay equal.
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
            case Proportional():
                parts.append(proportional(part, copies))
            case Explicit(replicas=replicas):
                parts.append(tuple(replicas[start : start + size]))
    return tuple(r for part in parts for r in part)

"""The course of an arm's loss over its training tokens, and of its distance to a control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from growc.report.history import Floats, Trail, mean

MOST_POINTS, FEWEST_POINTS, STEPS_PER_POINT = 200, 30, 8
"""A training curve is drawn as means over bins of steps, which also smooths it lightly."""

Kind = Literal["validation", "training"]

Course = Mapping[float, float]
"""Tokens -> loss in nats. What a growth leaves stands half a token after what it found."""


@dataclass(frozen=True)
class Band:
    """Courses of several seeds at the tokens that all of them have: their mean, lowest and highest."""

    tokens: Floats
    mean: Floats
    low: Floats
    high: Floats


def growth_at(trail: Trail) -> float | None:
    """Tokens at the first growth of a trail."""
    return next((segment.offset for segment in trail.trunk if segment.stage.grows), None)


def course(trail: Trail, kind: Kind) -> Course:
    """The losses along a trail, and those on both sides of every growth."""
    found: dict[float, float] = {}
    for segment in trail.trunk:
        curve, result = segment.stage.curve, segment.stage.grown
        if result is not None and kind == "validation":
            found[segment.offset] = mean(result.val_losses_before)
            found[segment.offset + 0.5] = mean(result.val_losses)
            continue
        tokens, losses = (curve.val_tokens, curve.val_loss) if kind == "validation" else (curve.tokens, curve.loss)
        on = tokens <= segment.tokens
        tokens, losses = tokens[on], losses[on]
        if kind == "training":
            tokens, losses = binned(tokens, losses)
        found.update(zip((segment.offset + tokens).tolist(), losses.tolist(), strict=True))
    return dict(sorted(found.items()))


def difference(trail: Trail, control: Trail, kind: Kind) -> Course:
    """Trail minus control wherever both are known, from the first growth of either on."""
    mine, theirs = course(trail, kind), course(control, kind)
    start = next((at for t in (trail, control) if (at := growth_at(t)) is not None), 0.0)
    found = {tokens: loss - theirs[tokens] for tokens, loss in mine.items() if tokens > start and tokens in theirs}
    if start + 0.5 in mine and kind == "validation":
        found[start + 0.5] = mine[start + 0.5] - mine[start]
    return dict(sorted(found.items()))


def band(courses: Sequence[Course]) -> Band:
    """Put the courses of several seeds together."""
    tokens = sorted(set(courses[0]).intersection(*courses[1:])) if courses else []
    losses = np.array([[each[at] for at in tokens] for each in courses], dtype=np.float64).reshape(-1, len(tokens))
    at = np.array(tokens, dtype=np.float64)
    return Band(at, losses.mean(axis=0), losses.min(axis=0), losses.max(axis=0)) if tokens else Band(at, at, at, at)


def binned(tokens: Floats, losses: Floats) -> tuple[Floats, Floats]:
    """Means over bins of steps."""
    bins = min(len(losses), max(FEWEST_POINTS, min(MOST_POINTS, len(losses) // STEPS_PER_POINT)))
    if bins == 0:
        return tokens, losses
    return (
        np.array([part.mean() for part in np.array_split(tokens, bins)]),
        np.array([part.mean() for part in np.array_split(losses, bins)]),
    )

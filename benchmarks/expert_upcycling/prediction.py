"""Whether the loss right after growth predicts the final one: Spearman's rank correlation over all arms that grow.

An arm counts once, with its means over seeds: seeds of an arm are no further evidence on what the arm does. Arms that
continue for different times, or from different trunks, differ in both losses for reasons that have nothing to do with
how they grew; the second coefficient, and the one that answers the question, is of deviations from the mean of the arms
that share a trunk and a budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.expert_upcycling.lines import CONTROLS
from benchmarks.expert_upcycling.results import Arm, Result

Floats = NDArray[np.float64]

RESAMPLES = 5_000
LEVEL = 0.95
FEWEST = 4
"""Arms below which a rank correlation says nothing."""


@dataclass(frozen=True)
class Grown:
    """One arm over its seeds: losses right after its growth and at the end; `family` shares trunks and budget."""

    section: str
    family: tuple[str, ...]
    after: float
    final: float


@dataclass(frozen=True)
class Correlation:
    """A rank correlation over n arms, with a bootstrap interval over arms."""

    rho: float
    low: float
    high: float
    n: int


def grown(results: Sequence[Result]) -> tuple[Grown, ...]:
    """Every arm that grows, of every result, once."""
    found: dict[tuple[str, ...], Grown] = {}
    for result in results:
        for group in result.groups:
            members = result.members(group)
            if group.arm not in CONTROLS and members and all(arm.val_loss_after_growth is not None for arm in members):
                found[result.name, *group.ends] = _grown(result, members)
    return tuple(found.values())


def _grown(result: Result, members: Sequence[Arm]) -> Grown:
    after = float(np.mean([arm.val_loss_after_growth for arm in members if arm.val_loss_after_growth is not None]))
    trunks = sorted(f"{arm.seed}:{arm.tokens}:{arm.val_loss_before_growth}" for arm in members)
    return Grown(result.section, (result.name, *trunks), after, float(np.mean([arm.val_loss for arm in members])))


def over_all(arms: Sequence[Grown]) -> Correlation | None:
    """The coefficient of the losses as they are."""
    return _correlate(np.array([arm.after for arm in arms]), np.array([arm.final for arm in arms]))


def within_families(arms: Sequence[Grown]) -> Correlation | None:
    """The coefficient of deviations from the mean of each family that has two arms at least."""
    pairs = np.array([pair for _, pair in deviations(arms)]).reshape(-1, 2)
    return _correlate(pairs[:, 0], pairs[:, 1])


def deviations(arms: Sequence[Grown]) -> Iterator[tuple[Grown, tuple[float, float]]]:
    """Arms with their losses right after growth and at the end, minus the means of their family."""
    for family in dict.fromkeys(arm.family for arm in arms):
        members = [arm for arm in arms if arm.family == family]
        if len(members) > 1:
            after, final = np.mean([arm.after for arm in members]), np.mean([arm.final for arm in members])
            yield from ((arm, (float(arm.after - after), float(arm.final - final))) for arm in members)


def _correlate(first: Floats, second: Floats) -> Correlation | None:
    n = len(first)
    if n < FEWEST:
        return None
    draws, found = np.random.default_rng(0), list[float]()
    for _ in range(RESAMPLES):
        chosen = draws.integers(0, n, n)
        if len(set(chosen)) > 1:
            found.append(spearman(first[chosen], second[chosen]))
    low, high = np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(spearman(first, second), float(low), float(high), n)


def spearman(first: Floats, second: Floats) -> float:
    """Pearson's coefficient of the ranks; equal values share their mean rank. NaN where one of the two is constant."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else float("nan")


def ranks(values: Floats) -> Floats:
    """Ranks from 1, ties at their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse].astype(np.float64)

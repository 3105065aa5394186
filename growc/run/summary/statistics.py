"""Means and their standard errors, of differences that are taken pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NOISE_FACTOR = 3
"""A gap that is smaller than this many standard errors means nothing, and neither does a share of it."""


@dataclass(frozen=True)
class Closure:
    """The share of the gap between two controls that an arm closed; null, with the reason, where it means nothing."""

    gap: float | None = None
    gap_error: float | None = None
    eta: float | None = None
    eta_error: float | None = None
    why_null: str | None = None


def standard_error(values: Floats) -> float:
    """The standard error of the mean, from the n - 1 estimate of the variance; at least two values."""
    assert len(values) > 1
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def closure(source: Floats, arm: Floats, target: Floats, *, over: Literal["window", "seed"]) -> Closure:
    """The share eta = mean(source - arm) / mean(source - target) (arXiv 2604.19835, Eq. 3-4).

    The three are losses of the same samples, so what samples have in common falls out of every difference. The error
    of eta is that of a ratio of means to first order (the delta method): the standard error of gain - eta * gap, over
    the mean gap. It holds where the gap is well above its noise, which is also where eta is not null.

    Args:
        source: losses of fixed_source, one per sample, in nats.
        arm: losses of the arm.
        target: losses of fixed_target.
        over: what a sample is: a validation window inside one seed, or a seed (the mean over its windows).
    """
    gaps, gains = source - target, source - arm
    gap = float(gaps.mean())
    if len(gaps) < 2:
        what = "validation window" if over == "window" else "seed"
        return Closure(gap, why_null=f"one {what} has no noise to compare with")
    noise = standard_error(gaps)
    if not gap >= NOISE_FACTOR * noise or gap == 0:  # a NaN is no gap either
        spread = "over windows" if over == "window" else f"over {len(gaps)} seeds"
        return Closure(
            gap, noise,
            why_null=f"the controls differ by {gap:.4f} nats, under {NOISE_FACTOR} times the noise "
            f"({noise:.4f} {spread})",
        )  # fmt: skip
    eta = float(gains.mean() / gap)
    return Closure(gap, noise, eta, standard_error(gains - eta * gaps) / gap)


def mean_and_error(values: Floats) -> tuple[float, float | None]:
    """The mean, and its standard error unless there is one value only."""
    return float(values.mean()), standard_error(values) if len(values) > 1 else None

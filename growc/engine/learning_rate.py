"""The learning rate of every step of a stage."""

from __future__ import annotations

from math import cos, pi, sqrt

from growc.spec.schema import Constant, Schedule, Wsd
from growc.spec.training import Decay, stable_step


def learning_rate(schedule: Schedule, peak: float, step: int, steps: int) -> float:
    """The learning rate of `step` (from 0) of a stage of `steps`, in the units of `peak`.

    A linear rise over `warmup * steps`; then, for a wsd schedule, `peak`, and a fall over the last `anneal * steps`;
    for a cosine schedule a fall over all that is left; for a constant one `peak`. The first step of a fall is below
    `peak`, and the first step after the stage would be at `min_lr * peak`.
    """
    warmup = round(schedule.warmup * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if isinstance(schedule, Constant):
        return peak
    start = stable_step(schedule, steps) if isinstance(schedule, Wsd) else warmup
    if step < start:
        return peak
    decay = schedule.decay if isinstance(schedule, Wsd) else "cosine"
    low = schedule.min_lr * peak
    return low + _fall(decay, peak - low, steps - step, steps - start + 1)


def _fall(decay: Decay, height: float, left: int, length: int) -> float:
    """How far above its end a fall from `height` is, `left` steps before that end, of `length` steps.

    sqrt is the 1 - sqrt of arXiv 2405.18392.
    """
    match decay:
        case "linear":
            return height * left / length
        case "cosine":
            return height * (1 - cos(pi * left / length)) / 2
        case "sqrt":
            return height * (1 - sqrt((length - left) / length))

"""The learning rate over a stage: where each shape starts, that it only falls, and where it ends."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.engine.learning_rate import learning_rate
from growc.spec.schema import Constant, Cosine, Schedule, Wsd
from growc.spec.training import Decay, stable_step

PEAK = 3e-3
DECAYS: tuple[Decay, ...] = ("linear", "cosine", "sqrt")
SCHEDULES: list[Schedule] = [
    *(Wsd(name="wsd", warmup=0.1, anneal=0.4, decay=decay, min_lr=low) for decay in DECAYS for low in (0.0, 0.1)),
    *(Cosine(name="cosine", warmup=0.1, min_lr=low) for low in (0.0, 0.1)),
    Constant(name="constant", warmup=0.1),
]


def rates(schedule: Schedule, steps: int = 200) -> list[float]:
    return [learning_rate(schedule, PEAK, step, steps) for step in range(steps)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_a_rate_rises_to_the_peak_and_then_only_falls(schedule: Schedule) -> None:
    found = rates(schedule)
    rise, rest = found[:20], found[20:]
    assert rise == pytest.approx([PEAK * (step + 1) / 20 for step in range(20)])
    assert all(later <= earlier for earlier, later in pairwise(rest))
    assert max(found) == PEAK


@pytest.mark.parametrize("low", [0.0, 0.1])
@pytest.mark.parametrize("decay", DECAYS)
def test_an_anneal_begins_after_the_stable_step_and_ends_at_min_lr(decay: Decay, low: float) -> None:
    schedule = Wsd(name="wsd", warmup=0.1, anneal=0.4, decay=decay, min_lr=low)
    found, start = rates(schedule), stable_step(schedule, 200)
    assert start == 120
    assert found[start - 1] == PEAK > found[start]
    assert learning_rate(schedule, PEAK, 200, 200) == pytest.approx(low * PEAK, abs=1e-12), "where the next would be"
    assert low * PEAK < found[-1] < (low + 0.02) * PEAK


def test_the_shapes_of_an_anneal() -> None:
    """Half way through, a line and a cosine have lost half, and 1 - sqrt has lost sqrt(1/2)."""
    half = {
        decay: learning_rate(Wsd(name="wsd", anneal=1, warmup=0, decay=decay), 1, 49, 99) for decay in DECAYS
    }  # the 50th of 100 parts, of which the last would be the step after the stage
    assert half == pytest.approx({"linear": 0.5, "cosine": 0.5, "sqrt": 1 - 0.5**0.5})


@given(
    steps=st.integers(1, 400),
    warmup=st.floats(0, 0.5),
    anneal=st.floats(0, 0.5),
    peak=st.floats(1e-6, 10),
)
def test_a_line_to_zero_is_bit_for_bit_that_of_a_plain_anneal(
    steps: int, warmup: float, anneal: float, peak: float
) -> None:
    schedule = Wsd(name="wsd", warmup=warmup, anneal=anneal)
    rise, start = round(warmup * steps), steps - round(anneal * steps)
    for step in range(steps):
        expected = peak
        if step < rise:
            expected = peak * (step + 1) / rise
        elif step >= start:
            expected = peak * (steps - step) / (steps - start + 1)
        assert learning_rate(schedule, peak, step, steps) == expected


@pytest.mark.parametrize("low", [0.0, 0.25])
def test_a_cosine_is_an_anneal_over_all_that_the_warmup_leaves(low: float) -> None:
    cosine = Cosine(name="cosine", warmup=0.1, min_lr=low)
    assert rates(cosine) == rates(Wsd(name="wsd", warmup=0.1, anneal=0.9, decay="cosine", min_lr=low))
    assert stable_step(cosine, 200) == stable_step(Constant(name="constant"), 200) == 200, "it has no state to leave"
    assert rates(cosine)[110] == pytest.approx((1 + low) / 2 * PEAK, rel=0.02)

"""Rank correlation: of ranks and nothing else, over arms and not over seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.expert_upcycling import prediction
from benchmarks.expert_upcycling.prediction import Grown

NUMBERS = st.lists(st.integers(-1000, 1000).map(float), min_size=3, max_size=30, unique=True)


@given(NUMBERS)
def test_without_ties_it_is_the_sum_of_squared_rank_differences(values: list[float]) -> None:
    order = np.random.default_rng(len(values)).permutation(len(values))
    first, second = np.array(values), np.array(values)[order]
    gaps = prediction.ranks(first) - prediction.ranks(second)
    n = len(values)
    assert prediction.spearman(first, second) == pytest.approx(1 - 6 * (gaps @ gaps) / (n * (n * n - 1)))


@given(NUMBERS)
def test_only_the_order_counts(values: list[float]) -> None:
    array = np.array(values)
    assert prediction.spearman(array, array**3) == pytest.approx(1)
    assert prediction.spearman(array, -array) == pytest.approx(-1)


def test_equal_values_share_their_rank() -> None:
    assert prediction.ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]
    assert np.isnan(prediction.spearman(np.ones(4), np.arange(4.0)))


def _arms(families: int, slope: float) -> list[Grown]:
    """Families far apart in both losses, and inside of each a final loss that goes `slope` times with the first."""
    return [
        Grown("s", (str(f),), after=f + 0.01 * (f + 1) * i, final=2.0 * f + slope * 0.01 * (f + 1) * i)
        for f in range(families)
        for i in range(6)
    ]


def test_families_that_are_far_apart_predict_nothing_within() -> None:
    """Trunks and budgets alone make the losses go together; against arms of the same family they do not."""
    arms = _arms(5, slope=-1)
    everything, within = prediction.over_all(arms), prediction.within_families(arms)
    assert everything is not None
    assert within is not None
    assert everything.rho > 0.8
    assert within.rho < -0.98
    assert everything.n == within.n == 30
    assert everything.low <= everything.rho <= everything.high


def test_too_few_arms_have_no_correlation() -> None:
    assert prediction.over_all(_arms(1, 1)[:3]) is None
    assert prediction.within_families([]) is None
    alone = [Grown("s", (str(f),), f, f) for f in range(9)]
    assert prediction.within_families(alone) is None

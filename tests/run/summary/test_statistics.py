"""The share of a gap and its error, against brute force and against what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from growc.run.summary.statistics import NOISE_FACTOR, Closure, Floats, closure, standard_error

LOSSES = st.lists(st.floats(min_value=1, max_value=6), min_size=3, max_size=12)


def drawn(samples: int, seed: int, *, eta: float = 0.4, gap: float = 0.1, spread: float = 0.02) -> tuple[Floats, ...]:
    """Losses of source, arm and target that share what a sample has in common, and each a spread of its own."""
    draws = np.random.default_rng(seed)
    shared = 2.3 + 0.3 * draws.standard_normal(samples)
    source, arm, target = (shared + spread * draws.standard_normal(samples) for _ in range(3))
    return source, arm - eta * gap, target - gap


def share(source: Floats, arm: Floats, target: Floats) -> Closure:
    return closure(source, arm, target, over="seed")


@pytest.mark.parametrize("samples", [8, 40])
@pytest.mark.parametrize("eta", [-0.2, 0.4, 1.1])
def test_the_error_is_that_of_a_bootstrap_over_pairs(samples: int, eta: float) -> None:
    losses = drawn(samples, seed=samples, eta=eta)
    found = share(*losses)
    draws = np.random.default_rng(1)
    picks = draws.integers(0, samples, (20_000, samples))
    source, arm, target = (values[picks].mean(axis=1) for values in losses)
    bootstrap = ((source - arm) / (source - target)).std()
    assert found.eta_error is not None
    # The bootstrap's variance is that of the n estimate, ours of the n - 1 estimate.
    assert found.eta_error == pytest.approx(bootstrap * np.sqrt(samples / (samples - 1)), rel=0.12)


@pytest.mark.parametrize("samples", [3, 5, 10])
def test_the_error_is_that_of_a_jackknife_over_pairs(samples: int) -> None:
    losses = drawn(samples, seed=7, spread=0.004)
    found = share(*losses)
    kept = [np.delete(np.arange(samples), i) for i in range(samples)]
    values = []
    for index in kept:
        source, arm, target = (losses[k][index].mean() for k in range(3))
        values.append((source - arm) / (source - target))
    jackknife = np.sqrt((samples - 1) / samples * np.square(np.array(values) - np.mean(values)).sum())
    assert found.eta_error == pytest.approx(jackknife, rel=0.05)


def test_the_error_covers_the_truth_as_often_as_it_should() -> None:
    """Twelve samples: some two thirds of the intervals of one error hold the true share."""
    hits = 0
    for seed in range(400):
        found = share(*drawn(12, seed))
        assert found.eta is not None and found.eta_error is not None
        hits += abs(found.eta - 0.4) < found.eta_error
    assert 0.58 < hits / 400 < 0.74


@given(LOSSES, st.data(), st.floats(min_value=-5, max_value=5), st.floats(min_value=0.1, max_value=10))
def test_units_and_a_common_constant_do_not_matter(
    source: list[float], data: st.DataObject, constant: float, factor: float
) -> None:
    values = st.lists(st.floats(min_value=1, max_value=6), min_size=len(source), max_size=len(source))
    losses = [np.array(source), np.array(data.draw(values)), np.array(data.draw(values))]
    found = share(*losses)
    assert found.gap is not None and found.gap_error is not None
    assume(abs(found.gap - NOISE_FACTOR * found.gap_error) > 1e-6)
    moved = share(*(factor * each + constant for each in losses))
    assert moved.gap == pytest.approx(factor * found.gap, abs=1e-9)
    assert (moved.eta is None) == (found.eta is None)
    if found.eta is not None:
        assert moved.eta == pytest.approx(found.eta, rel=1e-6, abs=1e-6)
        assert moved.eta_error == pytest.approx(found.eta_error, rel=1e-6, abs=1e-6)


@given(st.permutations(range(9)))
def test_the_order_of_the_samples_does_not_matter(order: list[int]) -> None:
    losses = drawn(9, seed=3)
    found, again = share(*losses), share(*(each[order] for each in losses))
    assert again.eta == pytest.approx(found.eta)
    assert again.eta_error == pytest.approx(found.eta_error)


@given(st.integers(min_value=0, max_value=10_000))
def test_the_controls_themselves_are_at_zero_and_one_without_error(seed: int) -> None:
    source, _, target = drawn(6, seed, spread=0.01)
    at_source, at_target = share(source, source, target), share(source, target, target)
    assert (at_source.eta, at_source.eta_error) == (0, 0)
    assert at_target.eta == pytest.approx(1)
    assert at_target.eta_error == pytest.approx(0, abs=1e-12)


def test_what_samples_have_in_common_is_no_noise() -> None:
    """Seeds that differ by a nat, arms that differ by a hundredth in each of them."""
    seeds = np.array([2.0, 3.0, 2.5])
    found = share(seeds, seeds - 0.006, seeds - 0.01)
    assert found.eta == pytest.approx(0.6)
    assert found.eta_error == pytest.approx(0, abs=1e-9)
    assert standard_error(seeds) > 0.2


@given(st.integers(min_value=2, max_value=30), st.integers(min_value=0, max_value=10_000))
def test_a_gap_within_the_noise_has_no_share(samples: int, seed: int) -> None:
    source, arm, target = drawn(samples, seed, gap=0.0)
    found = share(source, arm, target)
    assert found.gap is not None and found.gap_error is not None
    assert (found.eta is None) == (found.gap < NOISE_FACTOR * found.gap_error)
    if found.eta is None:
        assert found.eta_error is None
        assert found.why_null is not None
        assert f"under 3 times the noise ({found.gap_error:.4f} over {samples} seeds)" in found.why_null


def test_controls_in_the_wrong_order_have_no_share() -> None:
    source, arm, target = drawn(8, seed=0)
    assert share(target, arm, source).eta is None


def test_controls_that_are_equal_have_no_share() -> None:
    same = np.array([2.0, 2.1])
    assert share(same, same - 0.1, same).why_null is not None


def test_a_diverged_control_has_no_share() -> None:
    found = share(np.array([np.nan, 2.0]), np.array([1.9, 1.9]), np.array([1.8, 1.8]))
    assert found.eta is None


def test_one_sample_has_no_share() -> None:
    one = (np.array([2.0]), np.array([1.95]), np.array([1.9]))
    assert closure(*one, over="window").why_null == "one validation window has no noise to compare with"
    assert share(*one).gap == pytest.approx(0.1)

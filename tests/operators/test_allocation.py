"""Allocation rules: sums, bounds, and which expert gets what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from growc.anatomy import replicas as of_replicas
from growc.operators.allocation import (
    Explicit,
    Greedy,
    Proportional,
    Sampling,
    Uniform,
    allocate,
    greedy,
    proportional,
    sampling,
)

scores = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=40).map(tuple)
replica_lists = st.lists(st.integers(1, 5), min_size=1, max_size=20).map(tuple)


@given(scores, st.integers(2, 5), st.integers(1, 6))
def test_every_rule_gives_each_expert_one_and_the_layer_its_sum(
    score: tuple[float, ...], factor: int, cap: int
) -> None:
    assume(cap >= factor - 1)
    capped = Greedy(rule="greedy", cap=cap), Sampling(rule="sampling", cap=cap, temperature=0.1)
    for rule in (Uniform(), *capped, Proportional(rule="proportional")):
        replicas = allocate(rule, score, factor)
        assert rule not in capped or max(replicas) <= cap + 1
        assert len(replicas) == len(score)
        assert sum(replicas) == factor * len(score)
        assert min(replicas) >= 1


@given(scores, st.integers(1, 4), st.data())
def test_greedy_fills_the_best_first_up_to_the_cap(score: tuple[float, ...], cap: int, data: st.DataObject) -> None:
    copies = data.draw(st.integers(0, cap * len(score)))
    replicas = greedy(score, copies, cap)
    order = sorted(range(len(score)), key=lambda i: (-score[i], i))
    extra = [replicas[i] - 1 for i in order]
    assert sum(extra) == copies
    assert extra == sorted(extra, reverse=True)
    assert sum(0 < e < cap for e in extra) <= 1


def test_the_papers_numbers() -> None:
    """32 experts, factor 2, cap 3: ten experts quadrupled, one with the remainder, twenty-one single."""
    replicas = greedy([float(i) for i in range(32)], 32, 3)
    assert sorted(replicas, reverse=True) == [4] * 10 + [3] + [1] * 21


@given(scores, st.integers(0, 60))
def test_proportional_never_regrets_a_copy(score: tuple[float, ...], copies: int) -> None:
    """No expert would have given a moved copy a larger score per replica."""
    replicas = proportional(score, copies)
    for giver, r in enumerate(replicas):
        if r > 1:
            last = score[giver] / (r - 1)
            assert all(last >= score[other] / replicas[other] * (1 - 1e-12) for other in range(len(score)))


@given(st.integers(1, 4), st.integers(1, 6), st.integers(2, 3), st.data())
def test_routing_groups_stay_equal(groups: int, size: int, factor: int, data: st.DataObject) -> None:
    score = data.draw(st.lists(st.floats(0, 9), min_size=groups * size, max_size=groups * size).map(tuple))
    capped = Greedy(rule="greedy", cap=factor), Sampling(rule="sampling", cap=factor)
    for rule in (*capped, Proportional(rule="proportional")):
        replicas = allocate(rule, score, factor, groups)
        assert {sum(replicas[g * size : (g + 1) * size]) for g in range(groups)} == {factor * size}


@given(scores, st.integers(1, 4), st.integers(0, 30), st.text("ab", max_size=3))
def test_sampling_follows_from_its_seed_and_not_from_the_scale_of_the_scores(
    score: tuple[float, ...], cap: int, copies: int, seed: str
) -> None:
    assume(copies <= cap * len(score))
    rule = Sampling(rule="sampling", cap=cap)
    replicas = sampling(score, copies, rule, seed)
    assert sum(replicas) == len(score) + copies
    assert sampling(score, copies, rule, seed) == replicas
    if max(score) == 0 or min(s for s in score if s) > 1e-100:
        assert sampling([1024 * s for s in score], copies, rule, seed) == replicas


def test_sampling_draws_with_the_probabilities_that_it_states() -> None:
    """One copy among three experts, many times, against softmax(u / temperature) in either unit."""
    score, seeds = (1.0, 2.0, 6.0), 4000
    for unit, temperature in (("mean", 1.0), ("mean", 0.5), ("absolute", 2.0)):
        rule = Sampling.model_validate({"rule": "sampling", "cap": 1, "temperature": temperature, "unit": unit})
        drawn = [sampling(score, 1, rule, str(seed)) for seed in range(seeds)]
        scale = temperature * (3.0 if unit == "mean" else 1.0)
        weights = [math.exp(s / scale) for s in score]
        for expert, weight in enumerate(weights):
            share = sum(replicas[expert] == 2 for replicas in drawn) / seeds
            expected = weight / sum(weights)
            assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / seeds))


def test_sampling_is_greedy_when_cold_and_even_when_hot() -> None:
    score = tuple(float(i) for i in range(8))
    cold = Sampling(rule="sampling", cap=3, temperature=1e-9)
    assert all(sampling(score, 8, cold, str(seed)) == greedy(score, 8, 3) for seed in range(20))
    hot = Sampling(rule="sampling", cap=8, temperature=1e9)
    means = [sum(sampling(score, 8, hot, str(seed))[i] for seed in range(500)) / 500 for i in (0, 7)]
    assert means == pytest.approx([2, 2], abs=0.2)


def _all_replicas(experts: int, copies: int) -> list[tuple[int, ...]]:
    return [tuple(1 + e for e in extra) for extra in product(range(copies + 1), repeat=experts) if sum(extra) == copies]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=4), st.integers(0, 5))
def test_proportional_is_the_best_of_all_for_diminishing_returns(score: Sequence[float], copies: int) -> None:
    """By brute force: no replicas have a larger sum of u_i (1 + 1/2 + ... + 1/(r_i - 1)), the gain of each copy."""

    def gain(replicas: tuple[int, ...]) -> float:
        return sum(s / k for s, r in zip(score, replicas, strict=True) for k in range(1, r))

    best = max(gain(replicas) for replicas in _all_replicas(len(score), copies))
    assert gain(proportional(score, copies)) == pytest.approx(best)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=4), st.integers(0, 5), st.integers(1, 3))
def test_greedy_is_the_best_of_all_under_its_cap(score: Sequence[float], copies: int, cap: int) -> None:
    assume(copies <= cap * len(score))

    def gain(replicas: tuple[int, ...]) -> float:
        return sum(s * (r - 1) for s, r in zip(score, replicas, strict=True))

    allowed = [replicas for replicas in _all_replicas(len(score), copies) if max(replicas) <= cap + 1]
    assert gain(greedy(score, copies, cap)) == pytest.approx(max(map(gain, allowed)))


def test_explicit_is_taken_as_written() -> None:
    assert allocate(Explicit(rule="explicit", replicas=[1, 3]), (0.0, 0.0), 2) == (1, 3)


@given(replica_lists)
def test_vectors_of_slots(replicas: tuple[int, ...]) -> None:
    order = of_replicas.order(replicas)
    assert [order.count(i) for i in range(len(replicas))] == list(replicas)
    assert list(order) == sorted(order), "siblings are neighbours"
    assert sum(of_replicas.originals(replicas)) == len(replicas)
    assert all(c + o == 1 for c, o in zip(of_replicas.copies(replicas), of_replicas.originals(replicas), strict=True))
    for expert in range(len(replicas)):
        slots = [slot for slot, source in enumerate(order) if source == expert]
        assert of_replicas.originals(replicas)[slots[0]] == 1
        assert math.isclose(sum(1 / of_replicas.sizes(replicas)[s] for s in slots), 1)
        assert abs(sum(of_replicas.sign(replicas)[s] for s in slots)) == len(slots) % 2 * (len(slots) > 1)
        noise = [(of_replicas.pair(replicas)[s], of_replicas.sign(replicas)[s]) for s in slots]
        moved = [n for n in noise if n[1]]
        assert len(set(moved)) == len(moved) == len(slots) * (len(slots) > 1), "no two siblings get the same row"

"""Allocation rules: sums, bounds, and which expert gets what."""

from __future__ import annotations

import math

from hypothesis import assume, given
from hypothesis import strategies as st

from growc.operators import siblings
from growc.operators.allocation import Explicit, Greedy, Proportional, Uniform, allocate, greedy, proportional

scores = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=40).map(tuple)
replica_lists = st.lists(st.integers(1, 5), min_size=1, max_size=20).map(tuple)


@given(scores, st.integers(2, 5), st.integers(1, 6))
def test_every_rule_gives_each_expert_one_and_the_layer_its_sum(
    score: tuple[float, ...], factor: int, cap: int
) -> None:
    assume(cap >= factor - 1)
    for rule in (Uniform(), Greedy(rule="greedy", cap=cap), Proportional(rule="proportional")):
        replicas = allocate(rule, score, factor)
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
    replicas = allocate(Greedy(rule="greedy", cap=factor), score, factor, groups)
    assert {sum(replicas[g * size : (g + 1) * size]) for g in range(groups)} == {factor * size}


def test_explicit_is_taken_as_written() -> None:
    assert allocate(Explicit(rule="explicit", replicas=[1, 3]), (0.0, 0.0), 2) == (1, 3)


@given(replica_lists)
def test_vectors_of_slots(replicas: tuple[int, ...]) -> None:
    order = siblings.order(replicas)
    assert [order.count(i) for i in range(len(replicas))] == list(replicas)
    assert list(order) == sorted(order), "siblings are neighbours"
    assert sum(siblings.originals(replicas)) == len(replicas)
    assert all(c + o == 1 for c, o in zip(siblings.copies(replicas), siblings.originals(replicas), strict=True))
    for expert in range(len(replicas)):
        slots = [slot for slot, source in enumerate(order) if source == expert]
        assert siblings.originals(replicas)[slots[0]] == 1
        assert math.isclose(sum(siblings.share(replicas)[s] for s in slots), 1)
        assert abs(sum(siblings.sign(replicas)[s] for s in slots)) == len(slots) % 2 * (len(slots) > 1)
        noise = [(siblings.pair(replicas)[s], siblings.sign(replicas)[s]) for s in slots]
        moved = [n for n in noise if n[1]]
        assert len(set(moved)) == len(moved) == len(slots) * (len(slots) > 1), "no two siblings get the same row"

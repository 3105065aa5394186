"""Scores: which tensors they are over, how two are combined, and chance as a control."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.anatomy.sites import MoeSite
from growc.model import inspect
from growc.operators.scores import Over, combined, drawn, parts
from tests.families import FAMILIES, MOE_FAMILIES

pairs = st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=1, max_size=20)


def sites(family: str) -> tuple[MoeSite, ...]:
    return inspect(FAMILIES[family], 16).moe


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_fc1_and_fc2_are_all_there_is(family: str) -> None:
    for site in sites(family):
        assert site.units
        ((fc1,), (fc2,)) = parts(site, "fc1"), parts(site, "fc2")
        assert parts(site, "both_max") == (fc1, fc2)
        assert parts(site, "all") == (site.expert_tensors,)
        assert sorted(fc1 + fc2) == sorted(site.expert_tensors)
        assert all("down" in name for name in fc2), "and so does its bias"
        assert not any("down" in name for name in fc1)


@given(pairs)
def test_neither_part_counts_for_more_because_it_is_larger(scores: list[tuple[float, float]]) -> None:
    fc1, fc2 = [a for a, _ in scores], [b for _, b in scores]
    larger = [1024 * b for b in fc2]
    ways: tuple[Over, ...] = ("both_mean", "both_product", "both_max", "both_min")
    for over in ways:
        assert combined(over, (fc1, fc2)) == pytest.approx(combined(over, (fc1, larger)), abs=1e-12)
    shares = [[x / (sum(part) or 1) for x in part] for part in (fc1, fc2)]
    for expert, (a, b) in enumerate(zip(*shares, strict=True)):
        found = [combined(over, (fc1, fc2))[expert] for over in ways]
        assert found == pytest.approx([(a + b) / 2, a * b, max(a, b), min(a, b)])
    assert combined("fc1", (fc1,)) == tuple(fc1)


def test_chance_is_the_same_everywhere_and_another_in_every_layer_and_growth() -> None:
    first, second = sites("mixtral")
    assert drawn(first, "0/upcycle/0") == drawn(first, "0/upcycle/0")
    others = {
        drawn(first, "0/upcycle/0"),
        drawn(second, "0/upcycle/0"),
        drawn(first, "1/upcycle/0"),
        drawn(first, "0/upcycle/1"),
    }
    assert len(others) == 4
    assert all(0 <= score < 1 for score in drawn(first, "0"))
    assert len(drawn(first, "0")) == first.num_experts

"""A stage's name is made of its point, its arm and the stage, and read back into them."""

from __future__ import annotations

import pytest

from growc.spec.baselines import ARMS, CONTROLS
from growc.spec.stage_name import StageName

NAMES = {
    "pretrain": StageName((), "main", "pretrain"),
    "fixed_source/cpt": StageName((), "fixed_source", "cpt"),
    "seed=1/pretrain": StageName((("seed", "1"),), "main", "pretrain"),
    "seed=1,from=b.stable/scaled_top_k/cpt": StageName((("seed", "1"), ("from", "b.stable")), "scaled_top_k", "cpt"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_as_it_is_made(name: str) -> None:
    assert NAMES[name].name == name
    assert StageName.read(name) == NAMES[name]
    assert name.endswith(NAMES[name].in_sweep)
    assert "=" not in NAMES[name].in_sweep


def test_every_baseline_is_an_arm() -> None:
    assert ("main", *CONTROLS, "random_allocation", "scaled_top_k", "random_experts") == ARMS

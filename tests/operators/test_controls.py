"""The same growth with one thing changed, for the baselines that ask what that thing is worth."""

from __future__ import annotations

from typing import Any

import pytest

from growc.operators.expert_upcycling import ExpertUpcycling


def _grown(**settings: Any) -> ExpertUpcycling:
    return ExpertUpcycling.model_validate(settings)


RULES: list[dict[str, Any]] = [
    {"rule": "greedy", "score": "saliency", "cap": 2},
    {"rule": "sampling", "temperature": 0.5},
    {"rule": "proportional", "score": "weight_norm"},
]


@pytest.mark.parametrize("rule", RULES)
def test_random_allocation_keeps_the_rule_and_draws_the_scores(rule: dict[str, Any]) -> None:
    settings = {"factor": 3, "routing": "free", "router": {"init": "split"}}
    assert _grown(allocation=rule, **settings).control("random_allocation") == _grown(
        allocation=rule | {"score": "random"}, **settings
    )


@pytest.mark.parametrize("rule", [{"rule": "uniform"}, {"rule": "explicit", "replicas": [1, 3]}])
def test_without_scores_there_is_nothing_to_draw(rule: dict[str, Any]) -> None:
    assert _grown(allocation=rule).control("random_allocation") is None


def test_random_experts_keeps_all_else() -> None:
    settings = {"factor": 3, "routing": "free", "router": {"init": "split"}, "allocation": RULES[0]}
    assert _grown(**settings).control("random_experts") == _grown(experts={"init": "random"}, **settings)


def test_scaled_top_k_is_plain_duplication_with_all_siblings() -> None:
    settings = {"factor": 3, "layers": [1], "optimizer_state": "copy", "copies_lr": {"steps": 5}}
    other = {"router": {"init": "split"}, "experts": {"init": "drop"}, "allocation": RULES[0]}
    scaled = _grown(top_k="scale", routing="free", router={"init": "copy"}, **settings)
    assert _grown(**other, **settings).control("scaled_top_k") == scaled
    assert scaled.control("scaled_top_k") == scaled


def test_controls_do_not_interpolate_moments_of_what_is_not_interpolated() -> None:
    grown = _grown(experts={"init": "interpolate"}, optimizer_state="interpolate")
    for name in ("random_experts", "scaled_top_k"):
        control = grown.control(name)
        assert isinstance(control, ExpertUpcycling)
        assert control.optimizer_state == "reset_copies"


def test_other_baselines_are_no_controls_of_an_operator() -> None:
    assert _grown().control("fixed_source") is None

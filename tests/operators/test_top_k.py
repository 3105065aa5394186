"""`top_k: scale` is exact wherever a router can be followed, whatever its gates are, and refused elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from growc.checks import run_checks
from growc.checks.loss import prove
from growc.checks.twin import LENGTH, grow_twin
from growc.model import inspect
from growc.operators import operator
from growc.operators.claims import Preserves
from growc.programs import Divide
from tests import small
from tests.families import FAMILIES

SCALED: dict[str, Any] = {"routing": "free", "router": {"init": "copy"}, "top_k": "scale"}
PLAIN_SIGMOIDS = {name: FAMILIES[name] | {"norm_topk_prob": False} for name in ("deepseek_v3", "glm4_moe")}
"""Gates that are not renormalised: with more experts chosen, more is added up."""


def _operator(**settings: Any) -> Any:
    return operator("expert_upcycling").model_validate(SCALED | settings)


@pytest.mark.parametrize("family", PLAIN_SIGMOIDS)
@pytest.mark.parametrize("factor", [2, 3])
def test_independent_gates_make_the_way_back_smaller(family: str, factor: int) -> None:
    graph = inspect(PLAIN_SIGMOIDS[family], LENGTH)
    scales = _operator(factor=factor)
    assert not list(scales.problems(graph))
    twin = grow_twin(graph, [scales], 0)
    assert prove(twin, Preserves.EXACTLY).holds
    divided = {n for n, program in twin.steps[0].rewrite.programs.items() if isinstance(program, Divide)}
    assert divided == {unit.tensor for site in graph.moe for unit in site.units if unit.down}


def test_single_layers_have_a_top_k_of_their_own() -> None:
    graph = inspect(FAMILIES["mixtral"], LENGTH)
    twin = grow_twin(graph, [_operator(factor=2, layers=[1])], 0)
    assert prove(twin, Preserves.EXACTLY).holds
    grown = twin.steps[0].rewrite.grown
    assert [(site.num_experts, site.top_k) for site in grown.moe] == [(8, 2), (16, 4)]
    assert grown.model_type == "grown mixtral"
    again = grow_twin(grown, [_operator(factor=2, layers=[0])], 0)
    assert prove(again, Preserves.EXACTLY).holds
    assert again.steps[0].rewrite.grown.model_type == "mixtral", "all layers agree again"
    assert again.steps[0].rewrite.grown.config["num_experts_per_tok"] == 4


def test_noise_on_the_selection_bias_is_no_longer_exact() -> None:
    graph = inspect(FAMILIES["glm4_moe"], LENGTH)
    assert _operator(router={"init": "copy", "bias_noise": 1e-3}).preserves(graph) is Preserves.NEARLY
    assert _operator().preserves(graph) is Preserves.EXACTLY
    groups = inspect(FAMILIES["deepseek_v3_groups"], LENGTH)
    assert _operator().preserves(groups) is Preserves.NEARLY


@pytest.mark.parametrize(
    ("family", "settings", "code"),
    [
        ("mixtral", {"routing": "exclusive"}, "GROW321"),
        ("mixtral", {"allocation": {"rule": "greedy"}}, "GROW321"),
        ("phimoe", {}, "GROW322"),
    ],
)
def test_it_is_refused_where_it_would_not_be_what_it_says(family: str, settings: dict[str, Any], code: str) -> None:
    problems = list(_operator(**settings).problems(inspect(FAMILIES[family], LENGTH)))
    assert {problem.code for problem in problems} == {code}
    assert all(problem.where == ("top_k",) for problem in problems)


def test_the_declared_change_of_flops_breaks_the_invariant(tmp_path: Path) -> None:
    grow = {"name": "upcycle", "grow": [{"op": "expert_upcycling", **SCALED}]}
    bounds = {"active_flops": {"max_change": 0.005}, "loss": {"max_increase": 1e-5}}
    found = run_checks(small.context(small.spec(tmp_path, stages=[grow], invariants=bounds)))
    statuses = {invariant.name: invariant.status for invariant in found.invariants}
    assert statuses == {"active_flops": "broken", "preservation": "held", "loss": "to_measure"}
    assert [(d.code, "pays in FLOPs" in d.help) for d in found.diagnostics] == [("GROW403", True)]

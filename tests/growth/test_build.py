"""The growth graph of a spec: order, shared trunks, baselines and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from growc.diagnostics import GrowcError
from growc.growth.graph import GrowNode, GrowthGraph, State, TrainNode
from growc.growth.open import open_spec
from growc.operators.claims import Preserves
from tests.operators_cases import EXACT
from tests.run import tiny

TWICE = [
    {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}},
    {"name": "first", "from": "pretrain.stable", "grow": [{"op": "expert_upcycling", **EXACT}]},
    {"name": "between", "train": {"steps": 4, "data": "cpt"}},
    {"name": "second", "from": "between", "grow": [{"op": "expert_upcycling", **EXACT}]},
    {"name": "end", "train": {"steps": 4, "data": "cpt"}},
]
BOTH = ["fixed_source", "fixed_target"]


def graph(folder: Path, *overrides: str, **changes: Any) -> GrowthGraph:
    return open_spec(tiny.spec(folder, **changes), overrides).graph


def test_baselines_share_the_trunk(tmp_path: Path) -> None:
    built = graph(tmp_path, stages=TWICE, baselines=BOTH)
    starts = {node.name: str(node.start) for node in built.nodes}
    assert starts == {
        "pretrain": "source",
        "first": "pretrain.stable",
        "between": "first",
        "second": "between",
        "end": "second",
        "fixed_source/between": "pretrain.stable",
        "fixed_source/end": "fixed_source/between",
        "fixed_target/pretrain": "source",
        "fixed_target/between": "fixed_target/pretrain.stable",
        "fixed_target/end": "fixed_target/between",
    }
    assert nx.is_directed_acyclic_graph(built.dag)
    done: set[str] = set()
    for node in built.nodes:
        assert node.start.node is None or node.start.node in done
        done.add(node.name)


def test_arms_have_the_sizes_they_are_named_for(tmp_path: Path) -> None:
    built = graph(tmp_path, stages=TWICE, baselines=BOTH)
    experts = {node.name: node.after.moe[0].num_experts for node in built.nodes}
    assert [experts[name] for name in ("pretrain", "first", "end")] == [8, 16, 32]
    assert experts["fixed_source/end"] == 8
    assert experts["fixed_target/pretrain"] == 32
    target = built.node("fixed_target/pretrain")
    assert isinstance(target, TrainNode)
    assert target.scratch
    assert target.after.config["model_type"] == "glm4_moe", "from scratch there are no siblings to route among"
    assert built.keeps_stable("pretrain")
    assert not built.keeps_stable("between")


def test_the_claim_of_a_stage_is_its_worst_operators(tmp_path: Path) -> None:
    exact, free = {"op": "expert_upcycling", **EXACT}, {"op": "expert_upcycling", **EXACT, "routing": "free"}
    for operators, claim in (([exact, exact], Preserves.EXACTLY), ([free, exact], Preserves.NEARLY)):
        built = graph(tmp_path, stages=[{"name": "up", "grow": operators}])
        node = built.node("up")
        assert isinstance(node, GrowNode)
        assert node.preserves is claim
        assert node.after.moe[0].num_experts == 32


@pytest.mark.parametrize(
    ("override", "moved"),
    [
        ("training.optimizer.lr=0.01", {"pretrain", "upcycle", "cpt"}),
        ("stages[2].train.steps=11", {"cpt"}),
        ("stages[upcycle].grow[0].router.bias_noise=0.001", {"upcycle", "cpt"}),
        ("invariants.loss.max_increase=1", set[str]()),
        ("name=other", set[str]()),
    ],
)
def test_keys_move_with_what_they_depend_on(tmp_path: Path, override: str, moved: set[str]) -> None:
    before = {node.name: node.key for node in graph(tmp_path).nodes}
    after = {node.name: node.key for node in graph(tmp_path, override).nodes}
    assert {name for name in before if before[name] != after[name]} == moved


@pytest.mark.parametrize(
    ("operator", "code", "at"),
    [
        ({"layers": [0]}, "GROW302", "layers"),
        ({"allocation": {"rule": "greedy", "cap": 1}, "factor": 3}, "GROW303", "cap"),
        ({"allocation": {"rule": "explicit", "replicas": [2, 2]}}, "GROW306", "replicas"),
    ],
)
def test_operators_that_do_not_fit_point_at_their_value(
    tmp_path: Path, operator: dict[str, Any], code: str, at: str
) -> None:
    stages = [{"name": "up", "grow": [{"op": "expert_upcycling", **EXACT, **operator}]}]
    path = tiny.spec(tmp_path, stages=stages)
    with pytest.raises(GrowcError) as caught:
        open_spec(path)
    found = caught.value.diagnostics[0]
    assert found.code == code
    assert found.span is not None
    line = path.read_text(encoding="utf-8").splitlines()[found.span.line - 1]
    above = path.read_text(encoding="utf-8").splitlines()[found.span.line - 2]
    assert at in line or at in above


def test_a_dense_model_has_nothing_to_duplicate(tmp_path: Path) -> None:
    with pytest.raises(GrowcError, match="GROW301"):
        open_spec(tiny.spec(tmp_path, "llama", stages=[{"name": "up", "grow": [{"op": "expert_upcycling", **EXACT}]}]))


def test_a_source_that_cannot_be_built_points_at_its_line(tmp_path: Path) -> None:
    path = tiny.spec(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("hidden_size: 32", "hidden_size: -32"), encoding="utf-8")
    with pytest.raises(GrowcError) as caught:
        open_spec(path)
    found = caught.value.diagnostics[0]
    assert found.code == "GROW203"
    assert found.span is not None
    assert "hidden_size: -32" in path.read_text(encoding="utf-8").splitlines()[found.span.line - 1]


def test_loss_free_balancing_needs_a_bias(tmp_path: Path) -> None:
    with pytest.raises(GrowcError, match="GROW308"):
        open_spec(tiny.spec(tmp_path, "mixtral"))


def test_states_read_as_in_the_spec() -> None:
    assert [str(State(None)), str(State("a")), str(State("a", "stable"))] == ["source", "a", "a.stable"]

"""Sweeps as graphs: what arms have in common is there once, under a name that says whose it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from growc.diagnostics import GrowcError
from growc.growth.arms import Pool
from growc.growth.graph import GrowNode, GrowthGraph, TrainNode, described
from growc.growth.names import names
from growc.growth.open import open_spec
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.operators.operator import Operator
from tests.families import FAMILIES
from tests.operators_cases import EXACT
from tests.run import tiny

FROM = {"stages[upcycle].from": ["pretrain.stable", "pretrain"]}
SEEDS = {"training.seed": [0, 1]}
CHAIN: list[dict[str, Any]] = [
    {"name": "a", "train": {"steps": 4, "data": "pretrain"}},
    {"name": "b", "from": "a.stable", "train": {"steps": 4, "data": "pretrain"}},
    {"name": "upcycle", "from": "a.stable", "grow": [{"op": "expert_upcycling", **EXACT}]},
    {"name": "cpt", "train": {"steps": 4, "data": "cpt"}},
]  # fmt: skip
TIMING: dict[str, Any] = {
    "arm": {
        "early": {"stages[upcycle].from": "a.stable", "stages[cpt].train.steps": 8},
        "late": {"stages[upcycle].from": "b.stable", "stages[cpt].train.steps": 4},
    }
}


def graph(folder: Path, *overrides: str, **changes: Any) -> GrowthGraph:
    return open_spec(tiny.spec(folder, **changes), overrides).graph


def test_arms_that_differ_after_the_trunk_share_it(tmp_path: Path) -> None:
    built = graph(tmp_path, sweep=FROM, baselines=["fixed_source"])
    assert {node.name: str(node.start) for node in built.nodes} == {
        "pretrain": "source",
        "from=pretrain.stable/upcycle": "pretrain.stable",
        "from=pretrain.stable/cpt": "from=pretrain.stable/upcycle",
        "from=pretrain.stable/fixed_source/cpt": "pretrain.stable",
        "from=pretrain/upcycle": "pretrain",
        "from=pretrain/cpt": "from=pretrain/upcycle",
        "from=pretrain/fixed_source/cpt": "pretrain",
    }
    assert [(dict(path.point)["from"], path.arm, len(path.nodes)) for path in built.paths] == [
        ("pretrain.stable", "main", 3),
        ("pretrain.stable", "fixed_source", 2),
        ("pretrain", "main", 3),
        ("pretrain", "fixed_source", 2),
    ]
    assert built.uses["pretrain"] == 4
    assert built.shared_stages == 3
    assert built.node("pretrain").point == ()
    assert len(built.node("pretrain").specs) == 2


def test_seeds_share_nothing_and_stay_told_apart(tmp_path: Path) -> None:
    built = graph(tmp_path, sweep=SEEDS | FROM, baselines=["fixed_source", "fixed_target"])
    assert built.seed_axes == ("seed",)
    names = {node.name for node in built.nodes}
    assert {"seed=0/pretrain", "seed=1/pretrain", "seed=1,from=pretrain/fixed_source/cpt"} <= names
    # The way in which the main arm leaves the trunk is also that of the model from scratch.
    assert {"seed=1/fixed_target/pretrain", "seed=1,from=pretrain/fixed_target/cpt"} <= names
    assert {path.seed for path in built.paths if dict(path.point)["seed"] == "1"} == {1}
    assert {node.training.seed for node in built.nodes if ("seed", "1") in node.point} == {1}


def test_a_later_part_of_the_trunk_runs_for_those_who_come_through_it(tmp_path: Path) -> None:
    built = graph(tmp_path, stages=CHAIN, sweep=TIMING)
    assert [node.name for node in built.nodes] == [
        "a", "arm=early/upcycle", "arm=early/cpt", "arm=late/b", "arm=late/upcycle", "arm=late/cpt",
    ]  # fmt: skip
    early = graph(tmp_path, "sweep.arm={early: {}}", stages=CHAIN, sweep=TIMING)
    assert [node.name for node in early.nodes] == ["a", "b", "upcycle", "cpt"], "a branch of all arms is no trunk"


def test_branches_of_every_point_are_kept(tmp_path: Path) -> None:
    branch = {"name": "aside", "from": "a", "train": {"steps": 2, "data": "cpt"}}
    built = graph(tmp_path, stages=[*CHAIN[:2], branch, *CHAIN[2:]], sweep=TIMING)
    assert "aside" in {node.name for node in built.nodes}
    assert built.uses["aside"] == 2
    assert built.shared_stages == 2


def test_names_of_what_some_points_share(tmp_path: Path) -> None:
    arms = {
        name: {"stages[pretrain].train.steps": steps, "stages[cpt].train.steps": last}
        for name, steps, last in (("p", 4, 1), ("q", 4, 2), ("r", 6, 1), ("s", 6, 2))
    }
    found = [node.name for node in graph(tmp_path, sweep={"arm": arms}).nodes]
    assert found[:3] == ["arm=p+q/pretrain", "arm=p+q/upcycle", "arm=p/cpt"]
    assert len(set(found)) == len(found) == 8


def test_names_of_what_crossed_points_share(tmp_path: Path) -> None:
    """Two nodes that are shared along the diagonals of two axes have no labels that tell them apart."""
    steps = "stages[pretrain].train.steps"
    axes = {
        "x": {"1": {"training.batch_tokens": 256, steps: 4}, "2": {"training.batch_tokens": 512, steps: 8}},
        "y": {"1": {"stages[cpt].train.steps": 3}, "2": {"stages[cpt].train.steps": 5}},
    }
    built = graph(tmp_path, sweep=axes)
    assert [node.name for node in built.nodes if node.stage == "pretrain"] == ["x=1/pretrain", "x=2/pretrain"]
    points = [(("x", x), ("y", y)) for x in "12" for y in "12"]
    node = built.nodes[0]
    pool = Pool("", "", {"p": replace(node, key="abcdefgh1"), "q": replace(node, key="ijklmnop2")})
    pool.members = {"p": [(0, "main"), (3, "main")], "q": [(1, "main"), (2, "main")]}
    assert [called.name for called in names(pool, points).values()] == [
        "key=abcdefgh/pretrain",
        "key=ijklmnop/pretrain",
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"stages[cpt].train.validate_every": [2, 3]},
        {"invariants": {"a": {"invariants.loss.max_increase": 1}, "b": {"invariants.loss.max_increase": 2}}},
        {"of": {"a": {}, "b": {"stages[upcycle].grow[0].factor": 2}}},
        {"baselines": [[], ["fixed_source"]]},
    ],
)
def test_two_points_that_are_one_arm_are_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(GrowcError, match="GROW314") as caught:
        graph(tmp_path, sweep=values)
    (found,) = caught.value.diagnostics
    assert found.span is not None
    lines = (tmp_path / "tiny.growth.yaml").read_text(encoding="utf-8").splitlines()
    assert found.span.line > lines.index("sweep:") + 1


def test_a_shared_stage_validates_as_often_as_anyone_asks(tmp_path: Path) -> None:
    arms = {
        "a": {"stages[pretrain].train.validate_every": 4},
        "b": {"stages[pretrain].train.validate_every": 2, "stages[cpt].train.steps": 3},
        "c": {"stages[pretrain].train.validate_every": None, "stages[cpt].train.steps": 2},
    }
    node = graph(tmp_path, sweep={"arm": arms}).node("pretrain")
    assert node.training.validate_every == 2
    assert node.training.checkpoint_every is None


def test_a_swept_model_has_a_source_for_each_arm(tmp_path: Path) -> None:
    built = graph(tmp_path, sweep={"model.config.num_experts_per_tok": [2, 1]}, baselines=["fixed_target"])
    for path in built.paths:
        top_k = int(dict(path.point)["num_experts_per_tok"])
        assert path.source.moe[0].top_k == top_k
        nodes = [built.node(name) for name in path.nodes]
        assert {node.after.moe[0].top_k for node in nodes} == {top_k}
        assert {node.root.model.moe[0].top_k for node in nodes} == {top_k}
    assert len({node.root.source.digest for node in built.nodes}) == 2
    assert built.shared_stages == 0


def test_a_swept_model_that_cannot_be_built_points_at_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(GrowcError, match="GROW203") as caught:
        graph(tmp_path, sweep={"model": {"a": {"model.config": FAMILIES["glm4_moe"] | {"hidden_size": -32}}}})
    assert caught.value.diagnostics[0].span is not None
    assert caught.value.diagnostics[0].span.line > 20


def test_a_fault_of_growth_at_a_point_stands_at_its_value(tmp_path: Path) -> None:
    with pytest.raises(GrowcError, match="GROW302") as caught:
        graph(tmp_path, sweep={"stages[upcycle].grow[0].layers": ["all", [0]]})
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert found.span.line > (tmp_path / "tiny.growth.yaml").read_text(encoding="utf-8").splitlines().index("sweep:")


def test_growths_that_are_alike_but_for_the_seed_are_found(tmp_path: Path) -> None:
    built = graph(tmp_path, sweep=SEEDS | {"stages[upcycle].grow[0].routing": ["free", "exclusive"]})
    first = built.prototypes()
    for routing in ("free", "exclusive"):
        alike = [f"seed={seed},routing={routing}/upcycle" for seed in (0, 1)]
        assert [first[name].name for name in alike] == [alike[0]] * 2
    assert len(built.distinct_growths()) == 2


class _Controlled(ExpertUpcycling):
    @override
    def control(self, name: str) -> Operator | None:
        return self.model_copy(update={"factor": 3}) if name == "random_experts" else None


def test_a_control_grows_by_the_operators_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExpertUpcycling, "control", _Controlled.control)
    twice = [*CHAIN, {"name": "again", "grow": [{"op": "expert_upcycling", **EXACT}]}, {**CHAIN[3], "name": "end"}]
    built = graph(tmp_path, stages=twice, baselines=["random_experts"])
    assert {node.name: str(node.start) for node in built.nodes if node.arm == "random_experts"} == {
        "random_experts/upcycle": "a.stable",
        "random_experts/cpt": "random_experts/upcycle",
        "random_experts/again": "random_experts/cpt",
        "random_experts/end": "random_experts/again",
    }
    assert built.paths[1].nodes[0] == "a"
    grown = built.node("random_experts/upcycle")
    assert isinstance(grown, GrowNode)
    assert grown.rewrites[0].operator == ExpertUpcycling.model_validate({**EXACT, "factor": 3})
    assert grown.after.moe[0].num_experts == 24
    end = built.node("random_experts/end")
    assert isinstance(end, TrainNode)
    assert (end.after.moe[0].num_experts, end.steps) == (72, 4)
    with pytest.raises(GrowcError, match="GROW313"):
        graph(tmp_path, stages=twice, baselines=["random_allocation"])


def test_controls_of_expert_upcycling_share_the_trunk(tmp_path: Path) -> None:
    allocation = {"rule": "greedy", "score": "gradient_squared", "cap": 2}
    built = graph(
        tmp_path,
        f"stages[upcycle].grow[0].allocation={allocation}",
        baselines=["random_allocation", "random_experts", "scaled_top_k"],
    )
    assert [path.nodes for path in built.paths] == [
        ("pretrain", "upcycle", "cpt"),
        ("pretrain", "random_allocation/upcycle", "random_allocation/cpt"),
        ("pretrain", "random_experts/upcycle", "random_experts/cpt"),
        ("pretrain", "scaled_top_k/upcycle", "scaled_top_k/cpt"),
    ]
    assert [built.node(path.nodes[-1]).after.moe[0].top_k for path in built.paths] == [2, 2, 2, 4]
    first = [described(node.rewrites[0].operator) for node in built.grow_nodes()]
    scores = [operator["allocation"].get("score") for operator in first]
    assert scores == ["gradient_squared", "random", "gradient_squared", None]
    assert [operator["experts"]["init"] for operator in first] == ["copy", "copy", "random", "copy"]
    drawn = "stages[upcycle].grow[0].allocation={rule: greedy, score: random}"
    chance = graph(tmp_path, drawn, baselines=["random_allocation"])
    assert chance.paths[0].nodes == chance.paths[1].nodes, "an arm that is its own control is there once"


def test_a_control_that_does_not_fit_points_at_the_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def control(operator: ExpertUpcycling, _: str) -> Operator:
        return operator.model_copy(update={"layers": [0]})

    monkeypatch.setattr(ExpertUpcycling, "control", control)
    path = tiny.spec(tmp_path, baselines=["fixed_source", "scaled_top_k"])
    with pytest.raises(GrowcError, match="GROW302 the control scaled_top_k: layer 0 has no experts") as caught:
        open_spec(path)
    span = caught.value.diagnostics[0].span
    assert span is not None
    assert "scaled_top_k" in path.read_text(encoding="utf-8").splitlines()[span.line - 1]

"""Stages that start from several states, or from further sources: edges, keys, paths, controls and sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from growc.diagnostics import GrowcError
from growc.growth.graph import GrowNode, GrowthGraph, State, TrainNode
from growc.growth.open import open_spec
from tests.families import FAMILIES
from tests.run import tiny

SOUP: list[dict[str, Any]] = [{"op": "model_soup"}]
BRANCHES: list[dict[str, Any]] = [
    {"name": "math", "train": {"steps": 10, "data": "pretrain"}},
    {"name": "code", "from": "source", "train": {"steps": 10, "data": "cpt"}},
    {"name": "mix", "from": ["source", "math.stable", "code"], "grow": SOUP},
    {"name": "on", "train": {"steps": 5, "data": "cpt"}},
]


def opened_graph(folder: Path, *overrides: str, **changes: Any) -> GrowthGraph:
    return open_spec(tiny.spec(folder, "qwen3", **{"training": tiny.PLAIN, **changes}), overrides).graph


def test_every_branch_is_a_parent_and_runs_once(tmp_path: Path) -> None:
    built = opened_graph(tmp_path, stages=BRANCHES)
    assert [node.name for node in built.nodes] == ["math", "code", "mix", "on"]
    mix = built.node("mix")
    assert isinstance(mix, GrowNode)
    assert mix.starts == (State(None), State("math", "stable"), State("code"))
    assert mix.origin == ["source", "math.stable", "code"]
    assert built.node("on").origin == "mix"
    assert set(built.dag.edges) == {("math", "mix"), ("code", "mix"), ("mix", "on")}
    assert built.keeps_stable("math")
    assert not built.keeps_stable("code")
    (path,) = built.paths
    assert path.nodes == ("math", "code", "mix", "on")
    assert mix.rewrites[0].parents == 3


def test_keys_depend_on_every_parent_and_on_their_order(tmp_path: Path) -> None:
    first = opened_graph(tmp_path, stages=BRANCHES)
    swapped = opened_graph(tmp_path, "stages[mix].from=[source, code, math.stable]", stages=BRANCHES)
    other = opened_graph(tmp_path, "stages[code].train.steps=5", stages=BRANCHES)
    keys = [built.node("mix").key for built in (first, swapped, other)]
    assert len({*keys}) == 3
    assert first.node("math").key == swapped.node("math").key == other.node("math").key
    assert first.node("code").key != other.node("code").key


def test_controls_follow_the_first_parent_and_share_the_branches(tmp_path: Path) -> None:
    built = opened_graph(tmp_path, stages=BRANCHES, baselines=["fixed_source"])
    control = built.node("fixed_source/on")
    assert control.starts == (State(None),)
    assert [path.nodes for path in built.paths] == [("math", "code", "mix", "on"), ("fixed_source/on",)]
    math = opened_graph(tmp_path, "stages[mix].from=[math, source]", stages=BRANCHES, baselines=["fixed_source"]).node(
        "fixed_source/on"
    )
    assert math.start == State("math")


def test_branches_of_a_sweep_are_shared(tmp_path: Path) -> None:
    ways = {"few": {"stages[mix].from": ["source", "math"]}, "all": {"stages[mix].from": ["source", "math", "code"]}}
    built = opened_graph(tmp_path, stages=BRANCHES, sweep={"arm": ways})
    trained = {node.name for node in built.nodes if isinstance(node, TrainNode)}
    assert trained == {"math", "arm=all/code", "arm=few/on", "arm=all/on"}
    assert [path.nodes for path in built.paths] == [
        ("math", "arm=few/mix", "arm=few/on"),
        ("math", "arm=all/code", "arm=all/mix", "arm=all/on"),
    ]
    assert built.node("arm=all/mix").origin == ["source", "math", "arm=all/code"]


def test_stages_start_from_further_sources(tmp_path: Path) -> None:
    """A source of another architecture may train on its own, and cannot be mixed with the first."""
    wide = FAMILIES["qwen3"] | {"intermediate_size": 64}
    sources: dict[str, Any] = {"wide": {"config": wide}, "same": {"config": FAMILIES["qwen3"]}}
    stages: list[dict[str, Any]] = [
        {"name": "alone", "from": "sources.wide", "train": {"steps": 5, "data": "cpt"}},
        {"name": "mix", "from": ["source", "sources.same"], "grow": SOUP},
    ]
    built = opened_graph(tmp_path, stages=stages, sources=sources)
    alone = built.node("alone")
    assert alone.after.config["intermediate_size"] == 64
    assert str(alone.start) == "sources.wide"
    assert alone.root.at(alone.start) is alone.root.others["wide"]
    with pytest.raises(GrowcError) as caught:
        opened_graph(tmp_path, "stages[mix].from=[source, sources.wide, sources.same]", stages=stages, sources=sources)
    (found,) = caught.value.diagnostics
    assert found.code == "GROW390"
    assert "gate_proj.weight has shape [48, 32] in one and [64, 32] in the other" in found.message
    assert found.span is not None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden_act": "gelu"}, "hidden_act of their configs is silu in one and gelu in the other"),
        ({"tie_word_embeddings": True}, "only one of them has lm_head.weight"),
        ({"model_type": "olmo2"}, "qwen3 is not olmo2"),
        ({"max_position_embeddings": 256, "initializer_range": 0.2}, None),
    ],
)
def test_only_models_of_one_architecture_are_mixed(tmp_path: Path, changes: dict[str, Any], told: str | None) -> None:
    sources = {"other": {"config": FAMILIES["qwen3"] | changes}}
    stages = [{"name": "mix", "from": ["source", "sources.other"], "grow": SOUP}]
    if told is None:
        opened_graph(tmp_path, stages=stages, sources=sources)
        return
    with pytest.raises(GrowcError, match="GROW390") as caught:
        opened_graph(tmp_path, stages=stages, sources=sources)
    assert told in str(caught.value)


def test_settings_must_fit_the_number_of_states(tmp_path: Path) -> None:
    for weights, code in (([1, 2], "GROW391"), ([0, 0, 0], "GROW391"), ([0.5, 1, 1], None)):
        stages = [*BRANCHES[:2], BRANCHES[2] | {"grow": [{"op": "model_soup", "weights": weights}]}]
        if code is None:
            opened_graph(tmp_path, stages=stages)
            continue
        with pytest.raises(GrowcError) as caught:
            opened_graph(tmp_path, stages=stages)
        assert [d.code for d in caught.value.diagnostics] == [code]

"""A sweep runs what its arms have in common once, and goes on where it was cut off."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.operators_cases import EXACT
from tests.run import tiny

NO_WARMUP = {"name": "wsd", "warmup": 0}
STEPS = {"a": 4, "b": 6, "c": 8}
TIMING: list[dict[str, Any]] = [
    {"name": "a", "train": {"steps": STEPS["a"], "data": "pretrain"}},
    {"name": "b", "from": "a.stable", "train": {"steps": STEPS["b"], "data": "pretrain", "schedule": NO_WARMUP}},
    {"name": "c", "from": "b.stable", "train": {"steps": STEPS["c"], "data": "pretrain", "schedule": NO_WARMUP}},
    {"name": "upcycle", "from": "a.stable", "grow": [{"op": "expert_upcycling", **EXACT}]},
    {"name": "cpt", "train": {"steps": 4, "data": "cpt"}},
]
"""A trunk whose stable phase has three states to grow from: the anneal of each is a branch of its own."""

ARMS = {
    name: {"stages[upcycle].from": f"{name}.stable", "stages[cpt].train.steps": steps}
    for name, steps in (("a", 12), ("b", 8), ("c", 3))
}
NODES = ["a", "b", "timing=c/c", *(f"timing={name}/{stage}" for name in ARMS for stage in ("upcycle", "cpt"))]


def _spec(folder: Path, **changes: Any) -> Path:
    return tiny.spec(folder, stages=TIMING, sweep={"timing": ARMS}, **changes)


def _started(run_dir: Path) -> Counter[str]:
    lines = map(json.loads, (run_dir / "journal.jsonl").read_text(encoding="utf-8").splitlines())
    return Counter(line["stage"] for line in lines if line["event"] == "stage_started")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    tiny.run(_spec(folder, baselines=["fixed_source"]), folder / "run", 1)
    return folder / "run"


@pytest.mark.slow
def test_the_trunk_of_a_sweep_over_the_transition_is_trained_once(swept: Path) -> None:
    """The journal shows every stage started once, however many arms come through it."""
    controls = [f"timing={name}/fixed_source/cpt" for name in ARMS]
    assert _started(swept) == Counter([*NODES, *controls])
    plan = json.loads((swept / "plan.json").read_text(encoding="utf-8"))
    assert plan["sweep"]["saved_stages"] == (6 - 1) + (4 - 1) + (2 - 1)
    summary = tiny.summary(swept)
    assert summary["stages"].keys() == _started(swept).keys()
    assert {(arm["point"]["timing"], arm["arm"]) for arm in summary["arms"]} == {
        (name, arm) for name in ARMS for arm in ("main", "fixed_source")
    }


@pytest.mark.slow
def test_arms_grow_from_the_states_they_name(swept: Path, tmp_path: Path) -> None:
    """An arm of the sweep ends as the same spec without a sweep does, bit for bit."""
    sets = (f"{path}={value}" for path, value in ARMS["b"].items())
    tiny.run(_spec(tmp_path), tmp_path / "run", 1, "sweep={}", *sets)
    alone = tiny.tensors(tmp_path / "run/stages/cpt/checkpoint/training")
    arm = tiny.tensors(swept / "stages/timing=b/cpt/checkpoint/training")
    assert alone.keys() == arm.keys()
    assert all(torch.equal(alone[name], arm[name]) for name in alone)
    lineage = json.loads((swept / "stages/timing=b/cpt/checkpoint/growth.json").read_text(encoding="utf-8"))
    assert (lineage["stage"], lineage["arm"], lineage["point"]) == ("cpt", "main", {"timing": "b"})


@pytest.mark.slow
def test_a_killed_sweep_repeats_no_finished_stage(swept: Path, tmp_path: Path) -> None:
    path, run_dir = _spec(tmp_path, baselines=["fixed_source"]), tmp_path / "run"
    child = tiny.start(path, run_dir, 1)
    tiny.kill_when(child, lambda: max(tiny.rows(run_dir, "timing=b/cpt"), default=0) >= 2, limit=300)
    before = _started(run_dir)
    finished = {name for name in before if (run_dir / "stages" / name / "checkpoint").exists()}
    assert {"a", "b", "timing=a/cpt", "timing=b/upcycle"} <= finished
    output = tiny.run(path, run_dir, 1)
    assert "a: done already" in output
    again = _started(run_dir) - before
    assert not again.keys() & finished
    assert again.keys() == _started(swept).keys() - finished
    end = "stages/timing=c/cpt/checkpoint/training"
    expected, seen = tiny.tensors(swept / end), tiny.tensors(run_dir / end)
    assert all(torch.equal(expected[name], seen[name]) for name in expected)


@pytest.mark.slow
def test_seeds_draw_their_own_weights_and_read_the_same_text(tmp_path: Path) -> None:
    """Corpus and validation windows are those of the spec; weights and the order of batches are the seed's."""
    stages = [
        {"name": "pretrain", "train": {"steps": 2, "data": "pretrain"}},
        {"name": "upcycle", "grow": [{"op": "expert_upcycling", **EXACT}]},
        {"name": "cpt", "train": {"steps": 2, "data": "cpt"}},
    ]
    path = tiny.spec(tmp_path, stages=stages, sweep={"training.seed": [0, 1]}, baselines=["fixed_target"])
    tiny.run(path, tmp_path / "run", 1)
    tiny.run(path, tmp_path / "alone", 1, "sweep={}", "baselines=[]")
    run = tmp_path / "run"
    assert len(list((run / "source").iterdir())) == 2
    assert len(set(tiny.rows(run, "seed=0/pretrain").values()) & set(tiny.rows(run, "seed=1/pretrain").values())) == 0
    assert tiny.rows(run, "seed=0/cpt") == tiny.rows(tmp_path / "alone", "cpt")
    first, second = (tiny.rows(run, f"seed={seed}/fixed_target/pretrain")[1] for seed in (0, 1))
    assert first != second
    groups = {group["arm"]: group for group in tiny.summary(run)["groups"]}
    assert groups["main"]["n"] == 2
    assert groups["main"]["seeds"] == [0, 1]


@pytest.mark.slow
def test_a_swept_model_starts_from_sources_of_its_own(tmp_path: Path) -> None:
    stages = [
        {"name": "upcycle", "grow": [{"op": "expert_upcycling", **EXACT}]},
        {"name": "cpt", "train": {"steps": 2, "data": "cpt"}},
    ]
    sweep = {"model.config.num_experts_per_tok": [1, 2]}
    tiny.run(tiny.spec(tmp_path, stages=stages, sweep=sweep), tmp_path / "run", 1)
    assert len(list((tmp_path / "run/source").iterdir())) == 2
    for top_k in (1, 2):
        config = tmp_path / f"run/stages/num_experts_per_tok={top_k}/cpt/checkpoint/config.json"
        assert json.loads(config.read_text(encoding="utf-8"))["num_experts_per_tok"] == top_k

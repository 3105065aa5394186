"""Branches that are trained apart and mixed, on two ranks: weights, data, records, and a kill in any stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.checkpoint.command import grow
from growc.checkpoint.prepare import prepare
from growc.checkpoint.request import Request
from growc.diagnostics import GrowcError
from growc.files.beside import TRAINING
from growc.report.read import read_runs
from tests.run import tiny

pytestmark = pytest.mark.slow

ADAM: dict[str, Any] = {
    **tiny.PLAIN,
    "optimizer": {"name": "adamw", "lr": 3e-3},
    "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.2},
    "checkpoint_every": 2,
}
STAGES: list[dict[str, Any]] = [
    {"name": "math", "train": {"steps": 10, "data": "pretrain"}},
    {"name": "code", "from": "source", "train": {"steps": 10, "data": "cpt"}},
    {
        "name": "mix",
        "from": ["math.stable", "code"],
        "grow": [{"op": "model_soup", "weights": [1, 3], "optimizer_state": "mean"}],
    },
    {"name": "on", "train": {"steps": 10, "data": "cpt"}},
]


def spec(folder: Path, **changes: Any) -> Path:
    return tiny.spec(folder, "qwen3", **{"training": ADAM, "stages": STAGES, **changes})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    tiny.run(spec(folder, baselines=["fixed_source"]), folder / "run", 2)
    return folder / "run"


def _state(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return tiny.tensors(run / "stages" / stage / "checkpoint" / TRAINING)


def test_weights_and_moments_are_those_of_the_branches(unbroken: Path) -> None:
    math, code = tiny.tensors(unbroken / "stages" / "math" / "stable"), _state(unbroken, "code")
    mixed = _state(unbroken, "mix")
    assert mixed.keys() == math.keys() == code.keys()
    for name, value in mixed.items():
        if name.endswith(".step"):
            assert value == min(math[name], code[name]) == 8
        else:
            torch.testing.assert_close(value, 0.25 * math[name] + 0.75 * code[name])
            assert not torch.equal(math[name], code[name])


def test_records_name_every_parent_and_count_every_token_once(unbroken: Path) -> None:
    plan = json.loads((unbroken / "plan.json").read_text())
    starts = {stage["name"]: stage["from"] for stage in plan["stages"]}
    assert starts == {
        "math": [],
        "code": [],
        "mix": ["math.stable", "code"],
        "on": ["mix"],
        "fixed_source/on": ["math.stable"],
    }
    summary = tiny.summary(unbroken)
    assert {name: stage["from"] for name, stage in summary["stages"].items()} == {
        "math": "source",
        "code": "source",
        "mix": ["math.stable", "code"],
        "on": "mix",
        "fixed_source/on": "math.stable",
    }
    arms = {arm["arm"]: arm for arm in summary["arms"]}
    assert arms["main"]["tokens"] == (8 + 10 + 10) * 256, "the stable state leaves the anneal out"
    assert arms["fixed_source"]["tokens"] == (8 + 10) * 256
    result = json.loads((unbroken / "stages" / "mix" / "result.json").read_text())
    assert list(result["val_losses_of_others"]) == ["code"]
    lineage = json.loads((unbroken / "stages" / "mix" / "checkpoint" / "growth.json").read_text())
    assert lineage["from"] == ["math.stable", "code"]
    assert (unbroken / "report.html").exists()
    (run,) = read_runs([unbroken])
    assert {trail.arm: [each.stage.name for each in trail.segments] for trail in run.trails} == {
        "main": ["math", "code", "mix", "on"],
        "fixed_source": ["math", "fixed_source/on"],
    }
    assert {trail.arm: trail.tokens for trail in run.trails} == {arm: arms[arm]["tokens"] for arm in arms}


def test_checkpoints_are_mixed_as_sources(unbroken: Path, tmp_path: Path) -> None:
    """What branches were trained elsewhere, in whichever run, is mixed alike; `growc grow` reads one folder."""
    folders = {stage: str(unbroken / "stages" / stage / "checkpoint") for stage in ("math", "code")}
    stages = [{"name": "mix", "from": ["source", "sources.code"], "grow": [{"op": "model_soup"}]}]
    path = spec(tmp_path, model={"path": folders["math"]}, sources={"code": {"path": folders["code"]}}, stages=stages)
    tiny.run(path, tmp_path / "run")
    mixed = tiny.tensors(tmp_path / "run" / "stages" / "mix" / "checkpoint" / TRAINING)
    math, code = _state(unbroken, "math"), _state(unbroken, "code")
    assert 0 < len(mixed) < len(math), "moments are reset"
    for name, value in mixed.items():
        torch.testing.assert_close(value, (math[name] + code[name]) / 2)
    with pytest.raises(GrowcError, match="GROW662"):
        grow(Request(path, "mix", Path(folders["math"]), tmp_path / "out"), prepare)


@pytest.mark.parametrize("stage", ["math", "code", "on"])
def test_killed_and_resumed_in_any_stage_ends_bit_equal(unbroken: Path, tmp_path: Path, stage: str) -> None:
    path = spec(tmp_path)
    child = tiny.start(path, tmp_path / "run", 2)
    tiny.kill_when(child, lambda: max(tiny.rows(tmp_path / "run", stage), default=0) >= 5)
    _ends_like(unbroken, path, tmp_path / "run")


def test_killed_within_the_mixing_it_mixes_again(unbroken: Path, tmp_path: Path) -> None:
    path, journal = spec(tmp_path), tmp_path / "run" / "journal.jsonl"
    child = tiny.start(path, tmp_path / "run", 2)
    tiny.kill_when(child, lambda: journal.exists() and '"mix"' in journal.read_text())
    assert not (tmp_path / "run" / "stages" / "mix" / "checkpoint").exists()
    _ends_like(unbroken, path, tmp_path / "run")


def _ends_like(unbroken: Path, path: Path, run: Path) -> None:
    assert not (run / "summary.json").exists()
    tiny.run(path, run, 2)
    for stage in ("mix", "on"):
        expected, seen = _state(unbroken, stage), _state(run, stage)
        assert expected.keys() == seen.keys()
        assert all(torch.equal(expected[name], seen[name]) for name in expected), stage

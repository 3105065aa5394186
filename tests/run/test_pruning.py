"""Pruning and slimming inside a run: decided alike on every layout, once, and carried out as `growc grow` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import growc
from tests.run import tiny

pytestmark = pytest.mark.slow

ADAM: dict[str, Any] = {"batch_tokens": 256, "optimizer": {"name": "adamw", "lr": 1e-3}}
PRETRAIN: dict[str, Any] = {"name": "pretrain", "train": {"steps": 6, "data": "pretrain"}}

STAGES: dict[str, dict[str, Any]] = {
    "exhaustive": {
        "op": "expert_pruning",
        "keep": 6,
        "choose": {"by": "reconstruction", "batches": 2},
        "skipping": "measure",
        "skipping_batches": 2,
    },
    "greedy": {
        "op": "expert_pruning",
        "drop": 4,
        "choose": {"by": "reconstruction", "batches": 2, "exhaustive": 0, "progressive": True},
    },
    "saliency": {"op": "expert_pruning", "keep": 4, "choose": {"by": "score", "score": "saliency", "batches": 2}},
    "sensitivity": {"op": "expert_slimming", "share": 0.5, "choose": {"batches": 2}},
    "norm": {"op": "expert_slimming", "share": 0.25, "choose": {"score": "weight_norm"}, "layers": [2]},
}


def _events(run_dir: Path, kind: str) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, (run_dir / "journal.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["stage"]: line for line in lines if line["event"] == kind}


def _grow_stages(**stages: dict[str, Any]) -> list[dict[str, Any]]:
    grown = [{"name": name, "from": "pretrain.stable", "grow": [operator]} for name, operator in stages.items()]
    return [PRETRAIN, *grown]


def _check(run_dir: Path) -> None:
    """What is said of the decisions of `STAGES` on a glm4_moe of eight experts with 16 units in layers 1 and 2."""
    decisions = _events(run_dir, "decision")
    for name, left in (("exhaustive", 6), ("greedy", 4), ("saliency", 4)):
        assert {sum(replicas) for replicas in decisions[name]["replicas"].values()} == {left}
    assert [len(decisions["exhaustive"]["scores"][layer]) for layer in "12"] == [1, 1]
    for errors in decisions["greedy"]["scores"].values():
        assert len(errors) == 4
        assert errors == sorted(errors)
        assert 0 <= errors[0] < errors[-1] < 1
    units = decisions["sensitivity"]["units"]
    assert {layer: [len(row) for row in rows] for layer, rows in units.items()} == {"1": [8] * 9, "2": [8] * 9}
    assert all(0.5 < share <= 1 for shares in decisions["sensitivity"]["scores"].values() for share in shares)
    skipping = json.loads((run_dir / "stages/exhaustive/result.json").read_text(encoding="utf-8"))["skipping"]
    event = _events(run_dir, "skipping")["exhaustive"]
    assert (event["beta"], event["skipped"]) == (skipping["beta"], skipping["skipped"])
    told = tiny.summary(run_dir)["stages"]
    assert told["exhaustive"]["skipping"]["beta"] == skipping["beta"]
    assert told["greedy"]["skipping"] is None
    assert told["exhaustive"]["skipping"]["val_loss"] != told["exhaustive"]["val_loss_after"]
    assert all(0 < beta < 1 for beta in skipping["beta"].values())
    assert all(0 < share < 0.5 for share in skipping["skipped"].values())


def test_pruned_and_slimmed_models_train_on_and_load(tmp_path: Path) -> None:
    stages = [*_grow_stages(**STAGES), {"name": "cpt", "from": "sensitivity", "train": {"steps": 2, "data": "cpt"}}]
    output = tiny.run(tiny.spec(tmp_path, stages=stages, training=ADAM), tmp_path / "run", 1)
    _check(tmp_path / "run")
    assert "dynamic skipping would leave out" in output
    for name, kind in (("exhaustive", "glm4_moe"), ("cpt", "glm4_moe"), ("norm", "growc")):
        folder = tmp_path / "run/stages" / name / "checkpoint"
        assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == kind
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        model, report = loaded
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        assert growc.__version__ in (folder / "growth.json").read_text(encoding="utf-8")
        assert torch.isfinite(model(torch.arange(16)[None]).logits).all()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _run(tmp_path_factory.mktemp("alone"), 1)


def _run(folder: Path, ranks: int, *overrides: str) -> Path:
    tiny.run(tiny.spec(folder, stages=_grow_stages(**STAGES), training=ADAM), folder / "run", ranks, *overrides)
    _check(folder / "run")
    return folder / "run"


@pytest.mark.parametrize("overrides", [(), ("parallel.ep=2",)], ids=["fsdp 2", "ep 2"])
def test_decisions_and_weights_do_not_depend_on_sharding(
    alone: Path, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    run = _run(tmp_path, 2, *overrides)
    expected = {kind: _events(alone, kind) for kind in ("decision", "skipping")}
    for stage, decision in _events(run, "decision").items():
        assert decision["replicas"] == expected["decision"][stage]["replicas"]
        assert decision.get("units") == expected["decision"][stage].get("units")
        for layer, scores in expected["decision"][stage]["scores"].items():
            assert decision["scores"][layer] == pytest.approx(scores, rel=1e-5, abs=1e-6)
    skipping = _events(run, "skipping")["exhaustive"]
    assert skipping["beta"] == pytest.approx(expected["skipping"]["exhaustive"]["beta"], rel=1e-5)
    for stage in STAGES:
        at = [tiny.summary(each)["stages"][stage] for each in (alone, run)]
        assert at[1]["val_loss_after"] == pytest.approx(at[0]["val_loss_after"], abs=1e-5)


def test_a_decision_is_read_from_the_journal_and_not_made_again(tmp_path: Path) -> None:
    """What a run decided stands, whatever would be measured now: the recorded decision is another one here."""
    path = tiny.spec(tmp_path, stages=_grow_stages(greedy=STAGES["greedy"], norm=STAGES["norm"]), training=ADAM)
    run_dir = tmp_path / "run"
    tiny.run(path, run_dir, 1)
    journal = run_dir / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    kept = [1, 0, 1, 0, 1, 0, 1, 0]
    units = [[3, 5, 7, 9] for _ in range(9)]
    for line in lines:
        if line["event"] == "decision":
            line |= {"replicas": {"1": kept, "2": kept}} if line["stage"] == "greedy" else {"units": {"2": units}}
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for stage in ("greedy", "norm"):
        (run_dir / "stages" / stage / "checkpoint").rename(tmp_path / f"{stage}-before")
    tiny.run(path, run_dir, 1)
    result = json.loads((run_dir / "stages/greedy/result.json").read_text(encoding="utf-8"))
    assert result["operators"][0]["replicas"] == {"1": kept, "2": kept}
    tensors = {s: tiny.tensors(run_dir / "stages" / s / "checkpoint/training") for s in ("pretrain", "greedy", "norm")}
    gate = "model.model.layers.1.mlp.gate.weight"
    assert tensors["greedy"][gate].shape[0] == 4
    assert tensors["norm"]["model.model.layers.2.mlp.experts.down_proj"].shape[-1] == 4

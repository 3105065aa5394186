"""Runs by other kernels: which were taken stands in the journal, and what cannot be taken is refused at the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.engine.layout import Layout
from growc.growth.open import open_spec
from growc.run.folder import RunFolder
from growc.run.journal import events
from growc.run.kernels import MEASURED, fastest_experts
from tests.run import tiny

CPU = torch.device("cpu")


def _started(run_dir: Path) -> list[dict[str, Any]]:
    return [event["kernels"] for event in events(run_dir / "journal.jsonl", "run_started")]


def test_stages_are_the_same_by_all_kernels(tmp_path: Path) -> None:
    path = tiny.spec(tmp_path)
    keys = [
        [node.key for node in open_spec(path, overrides).graph.nodes]
        for overrides in ((), ("kernels.experts=eager", "kernels.attention=eager", "kernels.compile=true"))
    ]
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_losses_are_the_same_by_all_kernels(tmp_path: Path) -> None:
    path = tiny.spec(tmp_path)
    tiny.run(path, tmp_path / "auto")
    tiny.run(path, tmp_path / "other", 2, "kernels.experts=batched_mm", "kernels.attention=eager")
    assert _started(tmp_path / "auto") == [{"experts": ["grouped_mm"], "attention": ["sdpa"], "compile": False}]
    assert _started(tmp_path / "other") == [{"experts": ["batched_mm"], "attention": ["eager"], "compile": False}]
    for stage in ("pretrain", "cpt"):
        rows = tiny.rows(tmp_path / "auto", stage)
        assert len(rows) == 10
        assert tiny.rows(tmp_path / "other", stage) == pytest.approx(rows, rel=1e-4)


@pytest.mark.slow
def test_a_compiled_run_grows_validates_and_is_exported(tmp_path: Path) -> None:
    stages = [
        {"name": "pretrain", "train": {"steps": 4, "data": "pretrain", "validate_every": 2}},
        {"name": "upcycle", "from": "pretrain.stable", "grow": [{"op": "expert_upcycling", **tiny.EXACT}]},
        {"name": "cpt", "train": {"steps": 3, "data": "cpt"}},
    ]
    path = tiny.spec(tmp_path, family="qwen3_moe", stages=stages)
    tiny.run(path, tmp_path / "plain")
    tiny.run(path, tmp_path / "compiled", 1, "kernels.compile=true")
    assert _started(tmp_path / "compiled")[0]["compile"] is True
    for stage in ("pretrain", "cpt"):
        for key in ("loss", "val_loss"):
            rows = tiny.rows(tmp_path / "plain", stage, key)
            assert rows
            assert tiny.rows(tmp_path / "compiled", stage, key) == pytest.approx(rows, rel=1e-4)
    checkpoint = "stages/cpt/checkpoint"
    configs = [json.loads((tmp_path / run / checkpoint / "config.json").read_text()) for run in ("plain", "compiled")]
    assert configs[0] == configs[1]
    tensors = [tiny.tensors(tmp_path / run / checkpoint / "training") for run in ("plain", "compiled")]
    assert tensors[0].keys() == tensors[1].keys()


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("kernels.attention=flash_attention_2", "GROW606"),
        ("kernels.experts=grouped_gemm", "GROW606"),
    ],
)
def test_what_cannot_be_taken_is_said_before_anything_is_written(tmp_path: Path, override: str, code: str) -> None:
    output = tiny.run(tiny.spec(tmp_path), tmp_path / "run", 1, override, code=2)
    assert code in output
    assert "Traceback" not in output
    assert not (tmp_path / "run").exists()


def test_the_fastest_kernel_is_measured_once(tmp_path: Path) -> None:
    graph = open_spec(tiny.spec(tmp_path)).graph
    folder = RunFolder(tmp_path)
    best = fastest_experts(graph, folder, Layout(1, 1), CPU)
    (event,) = events(folder.journal, MEASURED)
    assert event["seconds"].keys() == {"eager", "grouped_mm", "batched_mm"}
    assert event["experts"] == best == min(event["seconds"], key=event["seconds"].get)
    other = next(name for name in event["seconds"] if name != best)
    folder.journal.write_text(json.dumps(event | {"experts": other}) + "\n", encoding="utf-8")
    assert fastest_experts(graph, folder, Layout(1, 1), CPU) == other
    assert len(list(events(folder.journal, MEASURED))) == 1


@pytest.mark.parametrize("family", ["llama", "llama4_text"])
def test_without_a_choice_nothing_is_measured(tmp_path: Path, family: str) -> None:
    stages = [{"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}}]
    graph = open_spec(tiny.spec(tmp_path, family=family, stages=stages, training=tiny.PLAIN)).graph
    folder = RunFolder(tmp_path)
    assert fastest_experts(graph, folder, Layout(1, 1), CPU) == "auto"
    assert not folder.journal.exists()

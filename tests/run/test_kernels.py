"""Runs by other kernels: which were taken stands in the journal, and what cannot be taken is refused at the start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.engine.layout import Layout
from growc.growth.open import open_spec
from growc.records.folder import RunFolder
from growc.records.journal import events, record
from growc.run.kernels import MEASURED, fastest_experts
from tests.engine.models import compiles
from tests.run import tiny

CPU = torch.device("cpu")


def _started(run_dir: Path) -> list[dict[str, Any]]:
    return [event.kernels or {} for event in events(run_dir / "journal.jsonl", "run_started")]


def test_stages_are_the_same_by_all_kernels(tmp_path: Path) -> None:
    path = tiny.spec(tmp_path)
    keys = [
        [node.key for node in open_spec(path, overrides).graph.nodes]
        for overrides in ((), ("kernels.experts=eager", "kernels.attention=eager", "kernels.compile=true"))
    ]
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_losses_are_the_same_by_all_kernels(tmp_path: Path) -> None:
    path = tiny.spec(tmp_path, stages=[{"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}}])
    tiny.run(path, tmp_path / "auto")
    tiny.run(path, tmp_path / "other", 2, "kernels.experts=batched_mm", "kernels.attention=eager")
    assert _started(tmp_path / "auto") == [{"experts": ["grouped_mm"], "attention": ["sdpa"], "compile": False}]
    assert _started(tmp_path / "other") == [{"experts": ["batched_mm"], "attention": ["eager"], "compile": False}]
    rows = tiny.rows(tmp_path / "auto", "pretrain")
    assert len(rows) == 4
    assert tiny.rows(tmp_path / "other", "pretrain") == pytest.approx(rows, rel=1e-4)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs across a growth, of which one compiles layers."""
    folder = tmp_path_factory.mktemp("compiled")
    stages = [
        {"name": "pretrain", "train": {"steps": 4, "data": "pretrain", "validate_every": 2}},
        {"name": "upcycle", "from": "pretrain.stable", "grow": [{"op": "expert_upcycling", **tiny.EXACT}]},
        {"name": "cpt", "train": {"steps": 3, "data": "cpt"}},
    ]
    path = tiny.spec(folder, stages=stages)
    tiny.run(path, folder / "plain")
    tiny.run(path, folder / "compiled", 1, "kernels.compile=true")
    return folder


@compiles
@pytest.mark.slow
def test_a_compiled_run_trains_grows_and_validates(compiled: Path) -> None:
    assert _started(compiled / "compiled")[0]["compile"] is True
    for stage in ("pretrain", "cpt"):
        for key in ("loss", "val_loss"):
            rows = tiny.rows(compiled / "plain", stage, key)
            assert rows
            assert tiny.rows(compiled / "compiled", stage, key) == pytest.approx(rows, rel=1e-4)


@compiles
@pytest.mark.slow
def test_a_compiled_run_is_exported_like_another(compiled: Path) -> None:
    ends = [compiled / run / "stages/cpt/checkpoint" for run in ("plain", "compiled")]
    plain, other = (json.loads((end / "config.json").read_text(encoding="utf-8")) for end in ends)
    assert plain == other
    mine, theirs = (tiny.tensors(end / "training") for end in ends)
    assert mine.keys() == theirs.keys()
    weights = [name for name in mine if not name.startswith("optimizer.")]
    assert weights
    assert all((theirs[name] - mine[name]).norm() <= 1e-3 * mine[name].norm() for name in weights)


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
    seconds = event.seconds or {}
    assert seconds.keys() == {"eager", "grouped_mm", "batched_mm"}
    assert event.experts == best == min(seconds, key=lambda name: seconds[name])
    other = next(name for name in seconds if name != best)
    folder.journal.unlink()
    record(folder.journal, replace(event, experts=other))
    assert fastest_experts(graph, folder, Layout(1, 1), CPU) == other
    assert len(list(events(folder.journal, MEASURED))) == 1


@pytest.mark.parametrize("family", ["llama", "llama4_text"])
def test_without_a_choice_nothing_is_measured(tmp_path: Path, family: str) -> None:
    stages = [{"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}}]
    graph = open_spec(tiny.spec(tmp_path, family=family, stages=stages, training=tiny.PLAIN)).graph
    folder = RunFolder(tmp_path)
    assert fastest_experts(graph, folder, Layout(1, 1), CPU) == "auto"
    assert not folder.journal.exists()

"""The training state of a grown checkpoint: training goes on from it as after growth in a run, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.audit.audit import audit
from growc.checkpoint.command import grow
from growc.checkpoint.prepare import prepare
from growc.checkpoint.request import Request
from growc.checkpoint.training import read_meta, read_tensor
from tests.operators_cases import EXACT
from tests.run import tiny

OPTIMIZERS: dict[str, Any] = {
    "adamw": {"optimizer": {"name": "adamw", "lr": 1e-3}},
    "adamw in bf16": {"optimizer": {"name": "adamw", "lr": 1e-3}, "precision": {"moments": "bf16"}},
    "sgd": {"optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.9}},
}
GROWN: list[dict[str, Any]] = [
    {"op": "expert_upcycling", **EXACT, "allocation": {"rule": "explicit", "replicas": [4, 1, 2, 1, 1, 3, 3, 1]}},
    {"op": "expert_upcycling", "routing": "exclusive", "factor": 3, "layers": [1], "router": {"init": "split"}},
]
FIRST = {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}}
THEN = {"name": "cpt", "train": {"steps": 3, "data": "cpt"}}


def _up(*operators: dict[str, Any]) -> dict[str, Any]:
    return {"name": "upcycle", "grow": list(operators)}


def _training(optimizer: str) -> dict[str, Any]:
    return {"batch_tokens": 256, **OPTIMIZERS[optimizer], "schedule": {"name": "constant"}}


@pytest.mark.nightly(2)
@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_three_steps_from_the_grown_folder_are_those_of_a_run(tmp_path: Path, optimizer: str) -> None:
    training = _training(optimizer)
    spec = tiny.spec(tmp_path, training=training, stages=[FIRST, _up(*GROWN), THEN])
    tiny.run(spec, tmp_path / "whole")
    request = Request(spec, "upcycle", tmp_path / "whole/stages/pretrain/checkpoint", tmp_path / "grown")
    grow(request, prepare)
    audit(request, tmp_path / "grown")
    spec = tiny.spec(tmp_path, training=training, stages=[THEN], model={"path": str(tmp_path / "grown")})
    tiny.run(spec, tmp_path / "after")
    assert tiny.rows(tmp_path / "after", "cpt") == tiny.rows(tmp_path / "whole", "cpt")
    ends = [tmp_path / run / "stages/cpt/checkpoint/training" for run in ("whole", "after")]
    moments = [read_meta(end).moments for end in ends]
    assert moments[0] == moments[1]
    assert len({kind for kinds in moments[0].values() for kind in kinds}) == (1 if optimizer == "sgd" else 3)
    keys = [f"optimizer.{name}.{kind}" for name, kinds in moments[0].items() for kind in kinds]
    for key in keys + [f"model.{name}" for name in moments[0]]:
        assert torch.equal(read_tensor(ends[0], key), read_tensor(ends[1], key)), key
    types = {read_tensor(tmp_path / "grown/training", key).dtype for key in keys if not key.endswith("step")}
    assert types == {torch.bfloat16 if "bf16" in optimizer else torch.float32}


@pytest.mark.slow
def test_what_is_reset_is_not_carried(tmp_path: Path) -> None:
    spec = tiny.spec(tmp_path, training=_training("adamw"), stages=[FIRST])
    tiny.run(spec, tmp_path / "run")
    source = tmp_path / "run/stages/pretrain/checkpoint"
    for state in ("reset_copies", "reset"):
        tiny.spec(tmp_path, training=_training("adamw"), stages=[FIRST, _up({**GROWN[0], "optimizer_state": state})])
        grow(Request(spec, "upcycle", source, tmp_path / state), prepare)
    assert read_meta(tmp_path / "reset/training").moments == {}
    assert json.loads((tmp_path / "reset/training/config.json").read_text())["model_type"] == "growc"
    name = next(n for n in read_meta(source / "training").moments if n.endswith("experts.down_proj"))
    key = f"optimizer.{name}.exp_avg"
    before, after = read_tensor(source / "training", key), read_tensor(tmp_path / "reset_copies/training", key)
    assert torch.equal(after[[0, 4, 5, 7, 8, 9, 12, 15]], before)
    assert not after[1:4].any()

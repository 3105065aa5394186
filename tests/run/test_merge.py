"""Within a run: growing and merging gives back the state before, bit for bit, and siblings end with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.operators_cases import EXACT
from tests.run import tiny

pytestmark = pytest.mark.slow

ADAM: dict[str, Any] = {"batch_tokens": 256, "optimizer": {"name": "adamw", "lr": 1e-3}}
EXPLICIT: dict[str, Any] = {"rule": "explicit", "replicas": [4, 1, 2, 1, 1, 2, 4, 1]}


@pytest.mark.parametrize("ranks", [1, 2])
def test_grown_and_merged_is_the_state_before(tmp_path: Path, ranks: int) -> None:
    stages = [
        {"name": "pretrain", "train": {"steps": 4, "data": "pretrain"}},
        {"name": "upcycle", "grow": [{"op": "expert_upcycling", **EXACT, "allocation": EXPLICIT}]},
        {"name": "merge", "grow": [{"op": "merge_duplicates"}]},
        {"name": "cpt", "train": {"steps": 2, "data": "cpt"}},
    ]
    tiny.run(tiny.spec(tmp_path, stages=stages, training=ADAM), tmp_path / "run", ranks)
    folder = tmp_path / "run" / "stages"
    before, after = (folder / name / "checkpoint" for name in ("pretrain", "merge"))
    expected, seen = tiny.tensors(before / "training"), tiny.tensors(after / "training")
    assert expected.keys() == seen.keys()
    assert any(name.endswith("exp_avg_sq") for name in expected)
    assert all(torch.equal(expected[name].view(torch.int32), seen[name].view(torch.int32)) for name in expected)
    configs = [json.loads((path / "config.json").read_text(encoding="utf-8")) for path in (before, after)]
    assert configs[0] == configs[1]
    weights = [(path / "model.safetensors").read_bytes() for path in (before, after)]
    assert weights[0] == weights[1]

    merged = tiny.summary(tmp_path / "run")["stages"]["merge"]
    assert merged["val_loss_after"] == pytest.approx(merged["val_loss_before"], abs=1e-5)
    assert "predicted_val_loss" not in merged or merged["predicted_val_loss"] is None
    result = json.loads((folder / "cpt" / "result.json").read_text(encoding="utf-8"))
    assert result["sibling_cosine"] == {}, "merging ends the siblings"

"""Runs that grow in depth and width: what is measured after growth, on several layouts, and training that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.run import tiny

GROWN: dict[str, list[dict[str, Any]]] = {
    "wider": [{"op": "widen", "to": {"hidden_size": 48, "intermediate_size": 72}, "noise": 0.05}],
    "wider, then deeper": [
        {"op": "hypercloning", "noise": 0.05},
        {"op": "deepen", "order": {"rule": "interpose"}, "start": "closed"},
    ],
}
LAYOUTS: dict[str, tuple[int, tuple[str, ...]]] = {"fsdp 2": (2, ()), "fsdp 2, ep 2": (2, ("parallel.ep=2",))}

Run = Callable[[str, str], Path]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run folder of a growth and a layout, made once."""

    @cache
    def made(growth: str, layout: str) -> Path:
        folder = tmp_path_factory.mktemp("dense")
        ranks, overrides = LAYOUTS.get(layout, (1, ()))
        stages = [
            {"name": "pretrain", "train": {"steps": 6, "data": "pretrain"}},
            {"name": "grown", "from": "pretrain.stable", "grow": GROWN[growth]},
            {"name": "cpt", "train": {"steps": 8, "data": "cpt"}},
        ]
        training = {
            "batch_tokens": 256,
            "optimizer": {"name": "adamw", "lr": 1e-2},
            "balance": {"method": "none"},
        }
        path = tiny.spec(folder, "mixtral", stages=stages, training=training)
        tiny.run(path, folder / "run", ranks, *overrides)
        return folder / "run"

    return made


@pytest.mark.parametrize("growth", GROWN)
def test_the_loss_is_kept_and_training_goes_on(run: Run, growth: str) -> None:
    result = json.loads((run(growth, "alone") / "stages" / "grown" / "result.json").read_text(encoding="utf-8"))
    assert result["val_losses"] == pytest.approx(result["val_losses_before"], abs=1e-5)
    losses = tiny.rows(run(growth, "alone"), "cpt")
    assert losses[8] < losses[1]


@pytest.mark.parametrize("growth", GROWN)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_grows_the_same_model(run: Run, growth: str, layout: str) -> None:
    """Weights and moments, from a state that each layout has trained itself."""
    folders = (run(growth, way) / "stages" / "grown" / "checkpoint" for way in ("alone", layout))
    one, other = (tiny.tensors(folder / "training") for folder in folders)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.allclose(tensor.float(), other[name].float(), rtol=1e-3, atol=1e-4), name
    losses = [tiny.rows(run(growth, way), "cpt")[1] for way in ("alone", layout)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)

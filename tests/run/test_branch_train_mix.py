"""Branch-Train-MiX from one spec: three branches on three parts of the data, mixed, trained on; killed and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3MoeForCausalLM

from growc.files.beside import TRAINING
from tests.run import tiny
from tests.run.exported import loaded

pytestmark = pytest.mark.slow

TRAINED: dict[str, Any] = {
    **tiny.PLAIN,
    "optimizer": {"name": "adamw", "lr": 3e-3},
    "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.2},
    "checkpoint_every": 2,
}
PARTS = ("first", "second", "third")
STAGES: list[dict[str, Any]] = [
    *({"name": part, "from": "source", "train": {"steps": 6, "data": part}} for part in PARTS),
    {"name": "mix", "from": [*PARTS], "grow": [{"op": "branch_train_mix", "optimizer_state": "gradient"}]},
    {
        "name": "on",
        "train": {"steps": 8, "data": "mixed", "balance": {"method": "auxiliary", "rate": 0.01}},
    },
]


def _spec(folder: Path) -> Path:
    path = tiny.spec(folder, "qwen3", training=TRAINED, stages=STAGES)
    return tiny.with_parts(path, dict.fromkeys((*PARTS, "mixed"), 0.25))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    tiny.run(_spec(folder), folder / "run", 2)
    return folder / "run"


def _state(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return tiny.tensors(run / "stages" / stage / "checkpoint" / TRAINING)


def test_experts_are_the_branches_with_their_moments(unbroken: Path) -> None:
    branches, mixed = [_state(unbroken, part) for part in PARTS], _state(unbroken, "mix")
    experts = [name for name in mixed if name.endswith("experts.gate_up_proj") or "experts.gate_up_proj.exp" in name]
    assert len(experts) == 2 * 3, "weights and both moments of two layers"
    for name in experts:
        for number, branch in enumerate(branches):
            parts = (name.replace("experts.gate_up_proj", f"{part}_proj.weight") for part in ("gate", "up"))
            assert torch.equal(mixed[name][number], torch.cat([branch[part] for part in parts])), name
    for name in (name for name in mixed if "self_attn.q_proj" in name and not name.endswith("step")):
        torch.testing.assert_close(mixed[name], sum(branch[name] for branch in branches) / 3)
    losses = tiny.rows(unbroken, "on")
    assert losses[8] < losses[1]


def test_killed_in_a_branch_and_resumed_it_ends_bit_equal(unbroken: Path, tmp_path: Path) -> None:
    path = _spec(tmp_path)
    child = tiny.start(path, tmp_path / "run", 2)
    tiny.kill_when(child, lambda: max(tiny.rows(tmp_path / "run", "second"), default=0) >= 4)
    assert not (tmp_path / "run" / "stages" / "mix").exists()
    assert "resumed at step" in tiny.run(path, tmp_path / "run", 2)
    expected, seen = _state(unbroken, "on"), _state(tmp_path / "run", "on")
    assert expected.keys() == seen.keys()
    assert all(torch.equal(expected[name], seen[name]) for name in expected)
    for stage in (*PARTS, "on"):
        assert tiny.rows(tmp_path / "run", stage) == tiny.rows(unbroken, stage)


def test_the_result_is_a_model_of_transformers_alone(unbroken: Path) -> None:
    folder = unbroken / "stages" / "mix" / "checkpoint"
    assert json.loads((folder / "config.json").read_text())["model_type"] == "qwen3_moe"
    model = loaded(folder)
    assert type(model) is Qwen3MoeForCausalLM
    assert {type(module).__module__.partition(".")[0] for module in model.modules()} == {"torch", "transformers"}

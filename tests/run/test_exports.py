"""What a run's checkpoints have of the folder that it started from, beside weights: its words, and what lies there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from growc.model.build import load_config
from tests.families import FAMILIES
from tests.operators_cases import EXACT
from tests.run import tiny
from tests.run.exported import loaded

BESIDE = ("tokenizer.json", "tekken.json", "LICENSE", "assets/logo.png", "generation_config.json")
STAGES: list[dict[str, Any]] = [
    {"name": "pretrain", "train": {"steps": 2, "data": "pretrain"}},
    {"name": "upcycle", "grow": [{"op": "expert_upcycling", **EXACT}]},
]


def source(folder: Path) -> dict[str, Any]:
    """A folder in the words of transformers 4, with files beside its weights; returns its config."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(load_config(FAMILIES["glm4_moe"])).save_pretrained(folder)
    for name in BESIDE:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps({"of": name}))
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "README.md").write_text("of the source")
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"], config["dtype"]
    config |= {"rope_theta": 1000000, "rope_scaling": None, "torch_dtype": "bfloat16", "surprise": [1]}
    (folder / "config.json").write_text(json.dumps(config))
    return config


@pytest.mark.slow
def test_a_run_passes_on_what_its_source_says(tmp_path: Path) -> None:
    given = source(tmp_path / "model")
    spec = tiny.spec(tmp_path, model={"path": "model"}, stages=STAGES)
    tiny.run(spec, tmp_path / "run")
    for stage in ("pretrain", "upcycle"):
        checkpoint = tmp_path / "run/stages" / stage / "checkpoint"
        loaded(checkpoint)
        for name in BESIDE:
            assert (checkpoint / name).read_bytes() == (tmp_path / "model" / name).read_bytes()
        assert not (checkpoint / "pytorch_model.bin").exists()
        assert not (checkpoint / "README.md").exists()
        config = json.loads((checkpoint / "config.json").read_text())
        assert {key: config.get(key) for key in ("rope_theta", "rope_scaling", "surprise")} == {
            "rope_theta": 1000000, "rope_scaling": None, "surprise": [1],
        }  # fmt: skip
        assert config["rope_parameters"]["rope_theta"] == 1000000
        assert config["torch_dtype"] == config["dtype"] == "float32"
        assert given.keys() <= config.keys()


def test_what_cannot_go_along_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    source(tmp_path / "model")
    (tmp_path / "model/LICENSE").unlink()
    (tmp_path / "model/LICENSE").symlink_to("gone")
    spec = tiny.spec(tmp_path, model={"path": "model"}, stages=STAGES)
    said = tiny.run(spec, tmp_path / "run", code=2)
    assert "GROW660" in said
    assert "LICENSE" in said
    assert not (tmp_path / "run/stages").exists()


def test_a_config_alone_has_nothing_to_pass_on(tmp_path: Path) -> None:
    spec = tiny.spec(tmp_path, stages=STAGES)
    tiny.run(spec, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run/stages/upcycle/checkpoint").iterdir()}
    assert names == {"config.json", "generation_config.json", "growth.json", "model.safetensors", "training"}

"""A run trains and saves the language model alone: it says what its checkpoints lack, and they promise none of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.folders import place, read
from tests.checkpoint.test_prediction_layers import config, with_prediction
from tests.checkpoint.wholes import whole
from tests.command_line import growc
from tests.run import tiny
from tests.run.exported import loaded

pytestmark = pytest.mark.share(4)

STAGES: list[dict[str, Any]] = [
    {"name": "pretrain", "train": {"steps": 2, "data": "pretrain"}},
    {"name": "upcycle", "grow": [{"op": "expert_upcycling", "routing": "free", "router": {"init": "copy"}}]},
]
BALANCE = {"batch_tokens": 256, "balance": {"method": "none"}}


def spec(folder: Path, *stages: dict[str, Any]) -> Path:
    return tiny.spec(folder, model={"path": "source"}, stages=list(stages) or STAGES, training=BALANCE)


@pytest.fixture
def predicting(tmp_path: Path) -> Path:
    with_prediction(place(tmp_path, "glm4_moe", {}))
    return spec(tmp_path)


@pytest.mark.parametrize("command", ["check", "plan"])
def test_prediction_layers_are_told_of_before_a_run(predicting: Path, command: str) -> None:
    for _ in range(2):  # the second answer may be one that was kept
        done = growc(command, predicting)
        assert done.exit_code == 0, done.output
        assert "GROW218" in done.output
        assert "multi-token prediction" in done.output


@pytest.mark.parametrize("command", ["check", "plan"])
@pytest.mark.parametrize("family", ["qwen3_5_moe", "llama4", "qwen3_5"])
def test_towers_are_told_of_before_a_run(tmp_path: Path, family: str, command: str) -> None:
    whole(tmp_path, family)
    stages = STAGES if family != "qwen3_5" else STAGES[:1]
    done = growc(command, spec(tmp_path, *stages), "--output-format", "json")
    assert done.exit_code == 0, done.output
    (found,) = [each for each in json.loads(done.stdout)["diagnostics"] if each["code"] == "GROW218"]
    assert found["severity"] == "warning"
    assert "vision_config" in found["message"]
    assert found["line"]


@pytest.mark.parametrize("name", [None, "tokenizer.json", "tekken.json", "qwen.tiktoken", "spiece.model"])
def test_a_cache_of_the_hub_without_a_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    """As a reader of the weights alone has left it; without a network, what is missing cannot be fetched."""
    place(tmp_path, "glm4_moe", {})
    repository, commit = tmp_path / "hub/models--some--model", "a" * 40
    repository.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    (repository / "snapshots").mkdir()
    (tmp_path / "source").rename(repository / "snapshots" / commit)
    if name is not None:
        (repository / "snapshots" / commit / name).write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    path = tiny.spec(tmp_path, model={"hub": "some/model"}, stages=STAGES, training=BALANCE)
    assert ("hf download some/model" in growc("check", path).output) == (name is None)


def test_nothing_is_said_of_a_model_that_is_all_there(tmp_path: Path) -> None:
    place(tmp_path, "glm4_moe", {})
    assert "GROW218" not in growc("check", spec(tmp_path)).output


@pytest.mark.slow
def test_a_run_says_so_and_promises_no_prediction_layers(predicting: Path) -> None:
    folder = predicting.parent
    assert config(folder / "source")["num_nextn_predict_layers"] == 1
    said = tiny.run(predicting, folder / "run")
    assert "GROW218" in said
    for stage in ("pretrain", "upcycle"):
        checkpoint = folder / "run/stages" / stage / "checkpoint"
        loaded(checkpoint)
        assert config(checkpoint)["num_nextn_predict_layers"] == 0
        assert "multi-token" in json.loads((checkpoint / "growth.json").read_text())["left_behind"][0]


DENSE = [STAGES[0], {"name": "upcycle", "grow": [{"op": "sparse_upcycling", "experts": 4}]}]


@pytest.mark.parametrize(("family", "stages"), [("llama4", STAGES), ("qwen3_5_moe", STAGES), ("mistral3", DENSE)])
@pytest.mark.slow
def test_a_run_of_a_whole_model_saves_its_language_model(
    tmp_path: Path, family: str, stages: list[dict[str, Any]]
) -> None:
    there = whole(tmp_path, family)
    said = tiny.run(spec(tmp_path, *stages), tmp_path / "run")
    assert "GROW218" in said
    checkpoint = tmp_path / "run/stages/upcycle/checkpoint"
    loaded(checkpoint)
    text = config(tmp_path / "source")["text_config"]
    written = config(checkpoint)
    assert written["model_type"] == ("mixtral" if family == "mistral3" else text["model_type"])
    (first,) = (path for path in (tmp_path / "run/source").iterdir() if path.is_dir())
    state, disk = tiny.tensors(first), read(there.source)
    (embeddings,) = (tensor for name, tensor in disk.items() if name.endswith("embed_tokens.weight"))
    assert torch.equal(state["model.model.embed_tokens.weight"], embeddings)
    assert "vision_config" not in written
    assert text.keys() <= written.keys()
    assert "vision_config" in json.loads((checkpoint / "growth.json").read_text())["left_behind"][0]

"""Where the first weights of a run come from: none of the four may be taken for another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from growc.growth.open import open_spec
from growc.model.build import load_config
from growc.run.source import write_source
from tests.families import FAMILIES
from tests.operators_cases import EXACT
from tests.run import tiny

GROW = [{"name": "up", "grow": [{"op": "expert_upcycling", **EXACT}]}]
MODULE = """
import torch
from transformers import AutoModelForCausalLM, AutoConfig
def build():
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**{config!r}))
    torch.nn.init.constant_(model.lm_head.weight, 0.25)
    return model
"""


def _written(folder: Path, spec: Path, *, allow_code: bool = False) -> dict[str, torch.Tensor]:
    opened = open_spec(spec, allow_code=allow_code)
    write_source(folder / "source", opened.roots[0], opened.loaded.base_dir, 0)
    return {name.removeprefix("model."): tensor for name, tensor in tiny.tensors(folder / "source").items()}


def _saved(folder: Path) -> torch.Tensor:
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(load_config(FAMILIES["mixtral"]))
    model.save_pretrained(folder)
    return model.lm_head.weight.detach()


def test_a_config_draws_from_the_seed(tmp_path: Path) -> None:
    spec = tiny.spec(tmp_path, "mixtral", stages=GROW)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = _written(tmp_path / "a", spec), _written(tmp_path / "b", spec)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["lm_head.weight"].std() > 0


def test_a_folder_gives_its_weights(tmp_path: Path) -> None:
    head = _saved(tmp_path / "model")
    spec = tiny.spec(tmp_path, stages=GROW, model={"path": "model"})
    assert torch.equal(_written(tmp_path, spec)["lm_head.weight"], head)


def test_code_gives_its_own_weights(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE.format(config=FAMILIES["mixtral"]), encoding="utf-8")
    spec = tiny.spec(tmp_path, stages=GROW, model={"module": "mine:build"})
    assert (_written(tmp_path, spec, allow_code=True)["lm_head.weight"] == 0.25).all()


def test_the_hub_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "a" * 40
    repository = tmp_path / "hub/models--some--model"
    head = _saved(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit, encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    spec = tiny.spec(tmp_path, stages=GROW, model={"hub": "some/model"})
    assert json.loads((repository / "snapshots" / commit / "config.json").read_text(encoding="utf-8"))
    assert torch.equal(_written(tmp_path, spec)["lm_head.weight"], head)

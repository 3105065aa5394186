"""Sources: hub, folder, config and code, with every way they go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file

from growc.files.folder import read_folder
from growc.model import ModelSource, fetch, resolve
from growc.spec.schema import Model
from tests.families import FAMILIES

Refused = Callable[[Callable[[], object]], list[str]]

CONFIG = FAMILIES["mixtral"]
COMMIT = "0" * 40


def folder_of(path: Path, config: dict[str, Any] | None = None) -> Path:
    """A folder with a config and two shards."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config or CONFIG))
    save_file({"a": np.zeros(3, "float32")}, path / "one.safetensors")
    save_file({"b": np.zeros(2, "float32")}, path / "two.safetensors")
    index(path, {"a": "one.safetensors", "b": "two.safetensors"})
    return path


def index(path: Path, weight_map: object) -> None:
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


# -- config ------------------------------------------------------------------------------------------------------


def test_an_inline_config_and_a_file_are_the_same_model(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    inline, file = (resolve(Model(config=given), tmp_path) for given in (CONFIG, "c.json"))
    assert inline.config == file.config == CONFIG
    assert inline.digest == file.digest
    assert (inline.kind, inline.weights) == ("config", None)
    assert inline.digest != resolve(Model(config={**CONFIG, "vocab_size": 300}), tmp_path).digest


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1, "a": 2}', "\xff"])
def test_a_config_file_that_is_no_object(tmp_path: Path, refused: Refused, text: str) -> None:
    (tmp_path / "c.json").write_bytes(text.encode("latin-1"))
    assert refused(lambda: resolve(Model(config="c.json"), tmp_path))[0].startswith("GROW205")


def test_a_config_file_that_is_not_there(tmp_path: Path, refused: Refused) -> None:
    assert "nothing.json cannot be read" in refused(lambda: resolve(Model(config="nothing.json"), tmp_path))[0]


def test_a_misspelt_key_of_an_inline_config(tmp_path: Path, refused: Refused) -> None:
    misspelt = {**CONFIG, "num_experts_per_token": 1, "moe_layers_norm": 3}
    del misspelt["num_experts_per_tok"]
    found = refused(lambda: resolve(Model(config=misspelt), tmp_path))
    assert [text[:7] for text in found] == ["GROW213"]
    assert "did you mean num_experts_per_tok?" in found[0]
    both = {**CONFIG, "num_experts_per_token": 1, "moe_layers_norm": 3}
    assert "did you mean num_experts_per_tok?" in refused(lambda: resolve(Model(config=both), tmp_path))[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_families_are_spelt_right(tmp_path: Path, family: str) -> None:
    assert resolve(Model(config=FAMILIES[family]), tmp_path).config == FAMILIES[family]


# -- folder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [{"path": "~nobody-here/base"}, {"config": "~nobody-here/config.json"}])
def test_the_home_of_no_user(tmp_path: Path, refused: Refused, model: dict[str, str]) -> None:
    assert refused(lambda: resolve(Model.model_validate(model), tmp_path))[0].startswith("GROW205")


def test_a_folder_names_its_weights_without_reading_them(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m")
    source = resolve(Model(path="m"), tmp_path)
    assert (source.kind, source.weights, source.config) == ("path", folder, CONFIG)
    assert resolve(Model(path=str(folder)), Path("/")).digest == source.digest
    save_file({"b": np.zeros((1, 2), "float32")}, folder / "two.safetensors")
    assert resolve(Model(path="m"), tmp_path).digest != source.digest
    assert fetch(source) is source


def test_one_file_needs_no_index(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m")
    save_file({"c": np.zeros(2, "float32")}, folder / "model.safetensors")
    assert dict(read_folder(folder).location) == {"c": "model.safetensors"}


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_pickles_alone_are_refused(tmp_path: Path, refused: Refused, name: str) -> None:
    folder = folder_of(tmp_path / "m")
    (folder / name).write_bytes(b"")
    resolve(Model(path="m"), tmp_path)  # beside safetensors they are never opened
    (folder / "model.safetensors.index.json").unlink()
    assert name in refused(lambda: resolve(Model(path="m"), tmp_path))[0]


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/x.safetensors", "a\\x.safetensors", "..", "", "x\0.safetensors"]
)
def test_an_index_that_leaves_its_folder(tmp_path: Path, refused: Refused, name: str) -> None:
    folder = folder_of(tmp_path / "m")
    save_file({"a": np.zeros(3, "float32")}, tmp_path / "x.safetensors")
    index(folder, {"a": name})
    assert refused(lambda: resolve(Model(path="m"), tmp_path))[0].startswith("GROW207")


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({"a": "one.safetensors", "b": "three.safetensors"}, "three.safetensors is missing"),
        ({"a": "one.safetensors", "b": "one.safetensors"}, "which does not hold it"),
        ({"a": "two.safetensors", "b": "one.safetensors"}, "which the index puts in"),
        ({"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}, "which does not hold it"),
        ({"a": "one.safetensors", "b": 3}, "other than file names"),
        ({}, "no weight_map"),
        (None, "no weight_map"),
    ],
)
def test_an_index_that_disagrees_with_its_files(
    tmp_path: Path, refused: Refused, weight_map: object, said: str
) -> None:
    index(folder_of(tmp_path / "m"), weight_map)
    found = refused(lambda: resolve(Model(path="m"), tmp_path))[0]
    assert found.startswith("GROW209")
    assert said in found


def test_a_tensor_that_the_index_lacks(tmp_path: Path, refused: Refused) -> None:
    save_file({"a": np.zeros(3), "more": np.zeros(3)}, folder_of(tmp_path / "m") / "one.safetensors")
    assert "holds more, which the index lacks" in refused(lambda: resolve(Model(path="m"), tmp_path))[0]


def test_an_index_that_names_a_pickle(tmp_path: Path, refused: Refused) -> None:
    folder = folder_of(tmp_path / "m")
    (folder / "one.bin").write_bytes(b"")
    index(folder, {"a": "one.bin"})
    assert refused(lambda: resolve(Model(path="m"), tmp_path))[0].startswith("GROW206")


def test_other_faults_of_a_folder(tmp_path: Path, refused: Refused) -> None:
    def fault() -> str:
        return refused(lambda: resolve(Model(path="m"), tmp_path))[0]

    assert "m is not a folder" in fault()
    folder = folder_of(tmp_path / "m", {**CONFIG, "quantization_config": {"quant_method": "fp8"}})
    assert fault().startswith("GROW212")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "two.safetensors").write_bytes(b"12345")
    assert fault().startswith("GROW208")
    (folder / "model.safetensors.index.json").write_text("{")
    assert fault().startswith("GROW209")
    (folder / "model.safetensors.index.json").unlink()
    assert "holds no model.safetensors" in fault()
    (folder / "config.json").write_text(json.dumps({"model_type": "mixtrall"}))
    assert "did you mean mixtral" in fault()
    (folder / "config.json").unlink()
    assert fault().startswith("GROW205")


# -- hub ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub on a machine without network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def cached(cache: Path) -> Path:
    """A model in the cache, as the hub's library lays it out."""
    model = cache / "models--org--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    return folder_of(model / "snapshots" / COMMIT)


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_the_hubs_cache_needs_no_network(cache: Path, revision: str | None) -> None:
    folder = cached(cache)
    source = resolve(Model(hub="org/tiny", revision=revision), cache)
    assert source == ModelSource("hub", CONFIG, folder, source.digest, "org/tiny", COMMIT)
    assert fetch(source) is source


def test_weights_that_are_not_cached_come_later(cache: Path, refused: Refused) -> None:
    folder = cached(cache)
    whole = resolve(Model(hub="org/tiny"), cache)
    (folder / "two.safetensors").unlink()
    source = resolve(Model(hub="org/tiny"), cache)
    assert source.weights is None
    assert source.digest == whole.digest
    assert refused(lambda: fetch(source))


@pytest.mark.parametrize("name", ["org/other", "///", "a b"])
def test_a_model_that_is_nowhere(cache: Path, refused: Refused, name: str) -> None:
    assert refused(lambda: resolve(Model(hub=name), cache))[0].startswith("GROW210")


# -- module ------------------------------------------------------------------------------------------------------

CODE = """
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, LlamaModel
CONFIG = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
class Own(LlamaForCausalLM): pass
def good(): return LlamaForCausalLM(CONFIG)
def headless(): return LlamaModel(CONFIG)
def own(): return Own(CONFIG)
def number(): return 3
def broken(): raise KeyError("x")
"""


def test_code_runs_only_when_allowed(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "growc_test_module.py").write_text(CODE)

    def source(function: str, allow_code: bool = True) -> ModelSource:
        return resolve(Model(module=f"growc_test_module:{function}"), tmp_path, allow_code=allow_code)

    assert "--allow-code" in refused(lambda: source("good", allow_code=False))[0]
    good = source("good")
    assert (good.kind, good.config["model_type"], good.config["hidden_size"]) == ("module", "llama", 8)
    for function, said in {
        "headless": "do not build LlamaModel",
        "own": "do not build Own",
        "number": "returns a int",
        "broken": "fails: KeyError",
        "absent": "fails: AttributeError",
    }.items():
        assert said in refused(lambda function=function: source(function))[0]

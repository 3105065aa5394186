"""What cannot be grown is refused with a diagnostic, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from growc.checkpoint import prepare
from growc.diagnostics import Diagnostic, GrowcError
from growc.model.build import load_config
from tests.checkpoint.folders import Place, place, read
from tests.families import FAMILIES
from tests.operators_cases import EXACT

pytestmark = pytest.mark.share(2)


@pytest.fixture
def there(tmp_path: Path) -> Place:
    return place(tmp_path, "qwen3_moe", {})


def refused(act: Callable[[], Any]) -> Diagnostic:
    with pytest.raises(GrowcError) as caught:
        act()
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def respec(there: Place, **changes: Any) -> None:
    there.spec.write_text(json.dumps(json.loads(there.spec.read_text()) | changes))


def reconfigure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite_weights(there: Place, **changes: torch.Tensor | None) -> None:
    tensors = {name: tensor for name, tensor in (read(there.source) | changes).items() if tensor is not None}
    save_file(tensors, there.source / "model.safetensors", metadata={"format": "pt"})


def nothing_left(there: Place) -> bool:
    return {path.name for path in there.root.iterdir()} == {"source", "test.growth.yaml"}


def test_a_misspelt_stage(there: Place) -> None:
    found = refused(lambda: there.grow(stage="upcylce"))
    assert (found.code, found.help) == ("GROW640", "did you mean upcycle?")


def test_a_stage_that_trains(there: Place) -> None:
    stages: list[dict[str, Any]] = json.loads(there.spec.read_text())["stages"]
    data = {"tokenizer": "bytes", "sequence_length": 64, "train": {"kind": "python_source"}, "parts": {"p": 1.0}}
    trains = {"name": "pretrain", "train": {"steps": 1, "data": "p"}}
    respec(there, data=data, stages=[trains, *stages], training={"batch_tokens": 64, "balance": {"method": "none"}})
    found = refused(lambda: there.grow(stage="pretrain"))
    assert found.code == "GROW640"
    assert "upcycle" in found.help
    assert found.span is not None


SCORES = ("gradient_squared", "saliency", "curvature")


@pytest.mark.parametrize(
    "operator",
    [
        *(
            {"op": "expert_upcycling", **EXACT, "allocation": {"rule": "proportional", "score": score}}
            for score in SCORES
        ),
        {"op": "router_upcycling", "keys": "calibrated"},
    ],
)
def test_what_is_measured_by_running_the_model(there: Place, operator: dict[str, Any]) -> None:
    respec(there, stages=[{"name": "upcycle", "grow": [operator]}])
    found = refused(there.grow)
    assert found.code == "GROW312"
    assert "growc run" in found.help
    assert found.span is not None


def test_a_missing_folder(there: Place) -> None:
    shutil.rmtree(there.source)
    assert refused(there.grow).code == "GROW650"


def test_an_existing_destination_is_never_touched(there: Place) -> None:
    there.grown.mkdir()
    assert refused(there.grow).code == "GROW642"
    assert list(there.grown.iterdir()) == []


def test_a_dangling_link_is_a_destination_too(there: Place) -> None:
    there.grown.symlink_to("nowhere")
    assert refused(there.grow).code == "GROW642"


@pytest.mark.parametrize("inside", ["grown", "deep/grown", "../source/grown"])
def test_a_destination_inside_the_source(there: Place, inside: str) -> None:
    before = read(there.source).keys()
    assert refused(lambda: there.grow(there.source / inside)).code == "GROW642"
    assert read(there.source).keys() == before


def test_a_source_where_the_new_folder_is_put_together(there: Place) -> None:
    moved = Place(there.root)
    there.source.rename(there.root / "grown.partial")
    (there.root / "source").symlink_to("grown.partial")
    assert refused(moved.grow).code == "GROW642"
    assert (there.root / "grown.partial" / "model.safetensors").exists()


def test_a_file_where_the_new_folder_is_put_together(there: Place) -> None:
    (there.root / "grown.partial").write_text("mine")
    assert refused(there.grow).code == "GROW642"
    assert (there.root / "grown.partial").read_text() == "mine"


def test_too_little_space(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(there.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert refused(there.grow).code == "GROW643"
    assert nothing_left(there)


def test_a_full_disk_leaves_nothing(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("growc.checkpoint.prepare.write_config", full)
    found = refused(there.grow)
    assert (found.code, "No space left" in found.message) == ("GROW644", True)
    assert nothing_left(there)


def test_a_file_where_the_folder_would_be(there: Place) -> None:
    (there.root / "file").write_text("")
    found = refused(lambda: there.grow(there.root / "file" / "grown"))
    assert (found.code, "file is no folder" in found.message) == ("GROW642", True)


def test_an_unforeseen_fault_leaves_nothing(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("growc.checkpoint.prepare.write_config", interrupted)
    with pytest.raises(KeyboardInterrupt):
        there.grow()
    assert nothing_left(there)


def test_pickles_only(there: Place) -> None:
    (there.source / "model.safetensors").rename(there.source / "pytorch_model.bin")
    assert refused(there.grow).code == "GROW206"
    assert nothing_left(there)


def test_an_index_that_leaves_the_folder(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {}, max_shard_size="20KB")
    path = there.source / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["lm_head.weight"] = "../secret.safetensors"
    path.write_text(json.dumps(index))
    assert refused(there.grow).code == "GROW207"
    assert nothing_left(there)


@pytest.mark.parametrize("kept", [4, 100, 5000])
def test_a_truncated_file(there: Place, kept: int) -> None:
    path = there.source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert refused(there.grow).code == "GROW208"
    assert nothing_left(there)


def test_a_source_that_shrinks_while_it_is_read(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real = prepare.write_config

    def shrinking(*arguments: Any) -> None:
        real(*arguments)
        path = there.source / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])

    monkeypatch.setattr(prepare, "write_config", shrinking)
    found = refused(there.grow)
    assert (found.code, "model.safetensors" in found.message) == ("GROW654", True)
    assert not there.grown.exists()


def test_a_source_that_vanishes_while_it_is_read(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanishing(*arguments: Any) -> Any:
        shutil.rmtree(there.source)
        return real(*arguments)

    real = prepare.recipes
    respec(there, stages=[{"name": "upcycle", "grow": [{"op": "expert_upcycling", "router": {"init": "split"}}]}])
    monkeypatch.setattr(prepare, "recipes", vanishing)
    found = refused(there.grow)
    assert (found.code, "is gone" in found.message) == ("GROW654", True)
    assert {path.name for path in there.root.iterdir()} == {"test.growth.yaml"}


def test_a_missing_tensor(there: Place) -> None:
    rewrite_weights(there, **{"model.norm.weight": None})
    found = refused(there.grow)
    assert found.code == "GROW641"
    assert "model.norm.weight is missing" in found.message


def test_a_missing_expert(there: Place) -> None:
    rewrite_weights(there, **{"model.layers.0.mlp.experts.3.up_proj.weight": None})
    assert refused(there.grow).code == "GROW641"


def test_an_unknown_tensor(there: Place) -> None:
    rewrite_weights(there, **{"model.surprise.weight": torch.zeros(2)})
    found = refused(there.grow)
    assert (found.code, "model.surprise.weight" in found.message) == ("GROW641", True)


def test_a_tensor_of_another_shape(there: Place) -> None:
    rewrite_weights(there, **{"model.norm.weight": torch.zeros(31)})
    found = refused(there.grow)
    assert (found.code, "[31]" in found.message) == ("GROW641", True)


def test_a_tensor_stored_twice(there: Place) -> None:
    rewrite_weights(there, **{"norm.weight": torch.zeros(32)})
    assert refused(there.grow).code == "GROW641"


def test_tied_tensors_that_differ(tmp_path: Path) -> None:
    there = place(tmp_path, "granitemoe", {})
    rewrite_weights(there, **{"lm_head.weight": torch.zeros(256, 32)})
    found = refused(there.grow)
    assert (found.code, "ties" in found.message) == ("GROW641", True)


def test_tensors_that_transformers_ignores_are_left_out_and_named(tmp_path: Path) -> None:
    there = place(tmp_path, "deepseek_v3", {})
    rewrite_weights(there, **{"model.layers.61.mlp.experts.0.up_proj.weight": torch.zeros(2)})
    (warning,) = there.grow()
    assert (warning.code, "model.layers.61.mlp.experts.0.up_proj.weight" in warning.message) == ("GROW668", True)


def test_buffers_that_follow_from_the_config_are_left_out_and_named(there: Place) -> None:
    rewrite_weights(there, **{"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)})
    (warning,) = there.grow()
    assert (warning.code, "rotary_emb.inv_freq" in warning.message) == ("GROW649", True)


@pytest.mark.parametrize(
    ("family", "changes", "says"),
    [
        ("mixtral", {}, "model_type is mixtral, not qwen3_moe"),
        ("qwen3_moe", {"num_hidden_layers": 3}, "3 layers, not 2"),
        ("qwen3_moe", {"num_local_experts": 16}, "layer 0 has 16 experts, not 8"),
        ("qwen3_moe", {"num_experts_per_tok": 4}, "layer 0 has 4 active experts, not 2"),
        ("qwen3_moe", {"moe_intermediate_size": 24}, "has shape [8, 48, 32], not [8, 32, 32]"),
        ("qwen3_moe", {"mlp_only_layers": [1]}, "layer 1 has no experts"),
    ],
)
def test_another_model(there: Place, family: str, changes: dict[str, Any], says: str) -> None:
    shutil.rmtree(there.source)
    AutoModelForCausalLM.from_config(load_config(FAMILIES[family] | changes)).save_pretrained(there.source)
    found = refused(there.grow)
    assert found.code == "GROW645"
    assert says in found.message
    assert found.span is not None
    assert nothing_left(there)


def test_a_model_that_is_grown_already(there: Place) -> None:
    there.grow()
    again = Place(there.root / "again")
    again.root.mkdir()
    again.spec.write_text(there.spec.read_text())
    there.grown.rename(again.source)
    found = refused(again.grow)
    assert (found.code, "16 experts, not 8" in found.message) == ("GROW645", True)


def test_a_quantized_folder(there: Place) -> None:
    reconfigure(there.source, quantization_config={"quant_method": "fp8"})
    assert refused(there.grow).code == "GROW212"


def test_a_broken_lineage_file(there: Place) -> None:
    (there.source / "growth.json").write_text("{")
    assert refused(there.grow).code == "GROW205"
    assert nothing_left(there)


def test_a_dtype_that_torch_lacks(there: Place) -> None:
    path = there.source / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    entry = header["model.norm.weight"]
    entry |= {"dtype": "F4", "shape": [entry["shape"][0] * 8]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    assert refused(there.grow).code == "GROW647"

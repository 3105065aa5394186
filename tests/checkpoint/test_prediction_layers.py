"""Layers for multi-token prediction go along where growth leaves them valid; else the config promises none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from growc.diagnostics import Diagnostic, GrowcError
from growc.files.verify import verify
from growc.model.prediction import predicts, promised, without_promise
from tests.checkpoint.folders import Place, place, read
from tests.checkpoint.test_grow import load, logits

pytestmark = pytest.mark.share(2)

FREE: dict[str, Any] = {"routing": "free"}
FAMILIES = ("deepseek_v3", "glm4_moe")

own = pytest.mark.parametrize("family", FAMILIES)


def prediction_layer(tensors: dict[str, Tensor], layer: int, *, experts: bool = True) -> dict[str, Tensor]:
    """What published folders have behind the last layer: a block like that, its two norms, and a projection."""
    draw = torch.Generator().manual_seed(7)
    like, like_dense = f"model.layers.{layer - 1}.", "model.layers.0."
    shapes = {
        name.replace(start, f"model.layers.{layer}."): tensor.shape
        for start in (like,)
        for name, tensor in tensors.items()
        if name.startswith(start) and (experts or ".mlp." not in name)
    }
    if not experts:
        dense = {n: t.shape for n, t in tensors.items() if n.startswith(f"{like_dense}mlp.")}
        shapes |= {name.replace(like_dense, f"model.layers.{layer}."): shape for name, shape in dense.items()}
    vocabulary, width = tensors["model.embed_tokens.weight"].shape
    more = {
        "eh_proj.weight": (width, 2 * width), "enorm.weight": (width,), "hnorm.weight": (width,),
        "embed_tokens.weight": (vocabulary, width), "shared_head.head.weight": (vocabulary, width),
        "shared_head.norm.weight": (width,),
    }  # fmt: skip
    shapes |= {f"model.layers.{layer}.{name}": torch.Size(shape) for name, shape in more.items()}
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def with_prediction(there: Place, *, experts: bool = True) -> dict[str, Tensor]:
    tensors = read(there.source)
    layers = json.loads((there.source / "config.json").read_text())["num_hidden_layers"]
    added = prediction_layer(tensors, layers, experts=experts)
    save_file(tensors | added, there.source / "model.safetensors", metadata={"format": "pt"})
    return added


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def assert_carried(folder: Path, added: dict[str, Tensor]) -> None:
    found = read(folder)
    assert all(name in found and bits(found[name]) == bits(tensor) for name, tensor in added.items())


def told(there: Place, **how: Any) -> Diagnostic:
    (warning,) = there.grow(**how)
    return warning


@own
def test_more_experts_leave_them_behind_and_promise_none(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family, FREE)
    added = with_prediction(there)
    assert config(there.source)["num_nextn_predict_layers"] == 1
    warning = told(there)
    assert (warning.code, f"{len(added)} tensors" in warning.message) == ("GROW668", True)
    assert "model.layers.3." in warning.message
    assert not any(name.startswith("model.layers.3.") for name in read(there.grown))
    assert config(there.grown)["num_nextn_predict_layers"] == 0
    (left,) = json.loads((there.grown / "growth.json").read_text())["left_behind"]
    assert (left["tensors"], left["what"]) == (len(added), "layers for multi-token prediction")
    assert "multi-token prediction" in (there.grown / "README.md").read_text()


@own
def test_layers_with_sizes_of_their_own_leave_them_as_they_are(tmp_path: Path, family: str) -> None:
    """The number of experts in the config stays that of the source: readers build the prediction layers from it."""
    there = place(tmp_path, family, {"layers": [1]})
    before = logits(there.source)
    added = with_prediction(there)
    assert there.grow(verify=True) == []
    assert_carried(there.grown, added)
    verify(there.grown)
    grown = config(there.grown)
    assert (grown["num_nextn_predict_layers"], grown["n_routed_experts"]) == (1, 8)
    assert "left_behind" not in json.loads((there.grown / "growth.json").read_text())
    assert not {"multi-token", "left behind"} & {*(there.grown / "README.md").read_text().split()}
    torch.testing.assert_close(_logits(there.grown, added), before, rtol=0, atol=2e-5)


def _logits(folder: Path, added: dict[str, Tensor]) -> Tensor:
    """Of the folder without them: transformers knows the numbers of published models' layers alone."""
    tensors = {name: tensor for name, tensor in read(folder).items() if name not in added}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    load(folder)
    return logits(folder)


@own
def test_without_experts_of_their_own_they_go_along_with_more_experts(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family, FREE)
    added = with_prediction(there, experts=False)
    assert there.grow() == []
    assert_carried(there.grown, added)
    assert config(there.grown)["num_nextn_predict_layers"] == 1


def test_without_experts_they_are_still_left_behind_with_other_widths(tmp_path: Path) -> None:
    slim = {"op": "expert_slimming", "share": 0.5, "choose": {"score": "weight_norm"}}
    there = place(tmp_path, "glm4_moe", slim)
    with_prediction(there, experts=False)
    assert told(there).code == "GROW668"


def test_they_are_grown_with_again(tmp_path: Path) -> None:
    there = place(tmp_path, "glm4_moe", {"layers": [1]})
    added = with_prediction(there)
    there.grow()
    again = Place(tmp_path / "again")
    again.root.mkdir()
    there.grown.rename(again.source)
    grow = [{"op": "expert_upcycling", "routing": "exclusive", "router": {"init": "copy"}, "layers": [2]}]
    spec = json.loads(there.spec.read_text())
    again.spec.write_text(
        json.dumps(spec | {"model": {"path": "source"}, "stages": [{"name": "upcycle", "grow": grow}]})
    )
    assert told(again).code == "GROW668", "by now all layers have 16 experts, and so has the config"
    assert config(again.grown)["num_nextn_predict_layers"] == 0
    assert not added.keys() & read(again.grown).keys()


def test_a_distributed_checkpoint_holds_the_model_alone(tmp_path: Path) -> None:
    there = place(tmp_path, "glm4_moe", {"layers": [1]})
    with_prediction(there)
    warning = told(there, layout="dcp")
    assert (warning.code, "distributed" in warning.message) == ("GROW668", True)
    assert config(there.grown)["num_nextn_predict_layers"] == 0


@pytest.mark.parametrize("layout", ["published", "fused"])
def test_other_layouts_keep_them(tmp_path: Path, layout: Any) -> None:
    there = place(tmp_path, "glm4_moe", {"layers": [1]})
    added = with_prediction(there)
    assert there.grow(layout=layout) == []
    assert_carried(there.grown, added)


@pytest.mark.parametrize(("layer", "promise"), [(3, 0), (4, 1)])
def test_layers_that_nothing_promises_are_no_prediction_layers(tmp_path: Path, layer: int, promise: int) -> None:
    """A config that was cut short, say: what it leaves out must not go by unseen."""
    there = place(tmp_path, "deepseek_v3", {"layers": [1]})
    tensors = read(there.source)
    cut = {
        name.replace("layers.2.", f"layers.{layer}."): t.clone() for name, t in tensors.items() if "layers.2." in name
    }
    save_file(tensors | cut, there.source / "model.safetensors", metadata={"format": "pt"})
    (there.source / "config.json").write_text(json.dumps(config(there.source) | {"num_nextn_predict_layers": promise}))
    spec = json.loads(there.spec.read_text())
    there.spec.write_text(json.dumps(spec | {"model": {"path": "source"}}))
    with pytest.raises(GrowcError, match=f"GROW641.*model.layers.{layer}"):
        there.grow()


NAMES = {
    "model.layers.61.eh_proj.weight": True,  # DeepSeek-V3
    "model.layers.60.mlp.gate.weight": False,
    "model.layers.62.eh_proj.weight": False,
    "mtp.layers.0.mlp.experts.0.up_proj.weight": True,  # Qwen3.5
    "mtp.fc.weight": True,
    "model.mtp.layers.0.input_layernorm.weight": True,  # LongCat
    "model.mtp_layers.0.token_layernorm.weight": True,  # MiMo
    "model.mtp_block.0.mlp.down_proj.weight": True,  # ERNIE 4.5
    "model.language_model.mtp.norm.weight": True,
    "model.prompt.weight": False,
    "model.smtp.weight": False,
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_predict(name: str) -> None:
    assert predicts(name, 61, 1) == NAMES[name]


def test_every_key_that_promises_them() -> None:
    promises = {
        "num_nextn_predict_layers": 1, "num_mtp_layers": 1, "mtp_num_hidden_layers": 2, "num_mtp_modules": 3,
        "use_mtp": True,
    }  # fmt: skip
    others = {"num_hidden_layers": 61, "mtp_loss_weight": 0.3, "mtp_use_dedicated_embeddings": True, "hidden_size": 8}
    assert promised(promises | others) == promises
    none = without_promise(promises | others)
    assert not promised(none)
    assert none["use_mtp"] is False
    assert {key: none[key] for key in others} == others

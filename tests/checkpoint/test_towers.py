"""A folder with a tower for pictures grows as a whole: its language model grows, and all else stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from growc.checkpoint import command
from growc.checkpoint.prepare import prepare
from growc.diagnostics import Diagnostic, GrowcError
from growc.files.verify import verify
from growc.model.build import load_config
from tests.checkpoint.folders import Place, in_memory, read
from tests.checkpoint.test_prediction_layers import assert_carried, bits, config
from tests.checkpoint.wholes import TEXT_OF, WHOLES, whole
from tests.command_line import growc
from tests.families import FAMILIES

pytestmark = pytest.mark.share(4)

FREE: dict[str, Any] = {"routing": "free"}
MIXTURES = ("qwen3_5_moe", "llama4")

mixtures = pytest.mark.parametrize("family", MIXTURES)


def is_text(family: str, name: str) -> bool:
    return name.startswith((TEXT_OF[family], "lm_head"))


def beside_text(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "text_config"}


def loaded(folder: Path) -> Any:
    """The whole model, by the stock class: nothing is missing, and nothing left over."""
    read: Any = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    model, report = read
    assert not any(report.values()), report
    return model.eval()


@torch.no_grad()
def logits(model: Any) -> Tensor:
    ids = torch.randint(0, 240, (2, 12), generator=torch.Generator().manual_seed(1))
    return model.eval()(input_ids=ids).logits


def text_logits(folder: Path) -> Tensor:
    return logits(AutoModelForCausalLM.from_pretrained(folder))


@mixtures
@pytest.mark.parametrize("fused", [False, True], ids=["experts", "fused"])
def test_the_whole_folder_comes_back(tmp_path: Path, family: str, fused: bool) -> None:
    there = whole(tmp_path, family, FREE, fused=fused)
    assert there.grow(verify=True) == []
    verify(there.grown)
    before, after = read(there.source), read(there.grown)
    towers = {name: tensor for name, tensor in before.items() if not is_text(family, name)}
    assert len(towers) > 10
    assert_carried(there.grown, towers)
    assert {name for name in after if not is_text(family, name)} == towers.keys()
    given, grown = config(there.source), config(there.grown)
    assert beside_text(grown) == beside_text(given)
    changed = {key for key, value in given["text_config"].items() if grown["text_config"].get(key) != value}
    assert changed <= {"num_experts", "num_local_experts"}
    assert {grown["text_config"][key] for key in changed} == {16}
    assert not {"architectures", "transformers_version"} & grown["text_config"].keys()
    torch.testing.assert_close(logits(loaded(there.grown)), text_logits(there.grown), rtol=0, atol=1e-6)


def test_a_whole_that_is_its_own_causal_model(tmp_path: Path) -> None:
    """AutoModelForCausalLM makes the whole of Gemma 4, whose experts a field of its text_config counts."""
    there = whole(tmp_path, "gemma4", FREE | {"router": {"init": "copy"}})
    assert {warning.code for warning in there.grow()} <= {"GROW406"}
    before = read(there.source)
    assert_carried(there.grown, {name: t for name, t in before.items() if not is_text("gemma4", name)})
    assert before.keys() == read(there.grown).keys()
    assert loaded(there.grown).config.text_config.num_experts == 16


def test_a_dense_language_model_becomes_a_mixture_in_a_whole_that_takes_any(tmp_path: Path) -> None:
    """Mistral 3 builds its language model by the type in its text_config; it has no causal class itself."""
    there = whole(tmp_path, "mistral3", {"op": "sparse_upcycling", "experts": 4})
    assert there.grow() == []
    assert_carried(there.grown, {n: t for n, t in read(there.source).items() if not is_text("mistral3", n)})
    assert config(there.grown)["text_config"]["model_type"] == "mixtral"
    assert config(there.grown)["model_type"] == "mistral3"
    torch.testing.assert_close(logits(loaded(there.grown)), logits(loaded(there.source)), rtol=0, atol=2e-5)


@mixtures
def test_its_language_model_is_the_one_that_grows_in_memory(tmp_path: Path, family: str) -> None:
    there = whole(tmp_path, family, FREE | {"router": {"init": "split"}})
    there.grow()
    text = {name.removeprefix(TEXT_OF[family]).removeprefix("model."): t for name, t in read(there.grown).items()}
    for name, tensor in in_memory(there).items():
        short = name.removeprefix(TEXT_OF[family]).removeprefix("model.")
        assert bits(text[short]) == bits(tensor), name


@mixtures
def test_bytes_are_moved_and_not_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Names behind a prefix are found again, so that what is copied is never read by torch."""
    there = whole(tmp_path, family, FREE | {"router": {"init": "copy"}})
    made: list[str] = []
    monkeypatch.setattr("growc.checkpoint.compute_tensors.Maker._write", lambda _, stored, *_rest: made.append(stored))
    there.grow()
    assert not made


def refused(there: Place, **how: Any) -> Diagnostic:
    with pytest.raises(GrowcError) as caught:
        there.grow(**how)
    (diagnostic,) = caught.value.diagnostics
    assert not there.grown.exists()
    return diagnostic


@pytest.mark.parametrize(
    ("family", "operator"),
    [
        ("qwen3_5_moe", {"routing": "exclusive"}),
        ("llama4", {"routing": "exclusive"}),
        ("qwen3_5_moe", FREE | {"layers": [1]}),
        ("qwen3_5", {"op": "sparse_upcycling", "experts": 4}),
    ],
)
def test_a_text_model_of_another_type_is_refused(tmp_path: Path, family: str, operator: dict[str, Any]) -> None:
    found = refused(whole(tmp_path, family, operator))
    assert (found.code, "--text-only" in found.help) == ("GROW667", True)
    assert WHOLES[family]["model_type"] in found.message


def test_a_distributed_checkpoint_has_no_place_for_towers(tmp_path: Path) -> None:
    found = refused(whole(tmp_path, "llama4", FREE), layout="dcp")
    assert (found.code, "distributed" in found.message) == ("GROW667", True)


@mixtures
def test_the_text_model_alone_if_asked(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = whole(tmp_path, family, {})
    before = text_logits(there.source)
    monkeypatch.setattr(command, "prepare_in_a_child", prepare)
    words = ["grow", there.spec, "--stage", "upcycle", "--from", there.source, "--to", there.grown, "--text-only"]
    done = growc(*words)
    assert done.exit_code == 0, done.output
    towers = [name for name in read(there.source) if not is_text(family, name)]
    assert "GROW649" in done.stderr
    assert f"{len(towers)} tensors" in done.stderr
    torch.testing.assert_close(text_logits(there.grown), before, rtol=0, atol=2e-5)
    assert "vision_config" not in config(there.grown)
    (left,) = json.loads((there.grown / "growth.json").read_text())["left_behind"]
    assert left["tensors"] == len(towers)
    assert "left behind" in (there.grown / "README.md").read_text()


def test_several_files_count_the_whole(tmp_path: Path) -> None:
    there = whole(tmp_path, "llama4", FREE)
    there.grow(shard_bytes=20_000)
    index = json.loads((there.grown / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_parameters"] == loaded(there.grown).num_parameters()


def test_a_text_config_that_contradicts_itself_is_refused() -> None:
    text = FAMILIES["mixtral"] | {"num_experts": 4}
    with pytest.raises(GrowcError, match=r"GROW202.*num_local_experts"):
        load_config(WHOLES["mistral3"] | {"text_config": text})


def test_a_grown_whole_grows_again(tmp_path: Path) -> None:
    there = whole(tmp_path, "qwen3_5_moe", FREE)
    there.grow()
    again = Place(tmp_path / "again")
    again.root.mkdir()
    there.grown.rename(again.source)
    again.spec.write_text(there.spec.read_text())
    assert again.grow() == []
    assert loaded(again.grown).config.text_config.num_experts == 32


def test_prediction_layers_and_towers_each_have_their_way(tmp_path: Path) -> None:
    """Qwen3.5: `mtp.*` beside the tower, built from the number of experts in the text_config."""
    there = whole(tmp_path, "qwen3_5_moe", FREE)
    tensors, start = read(there.source), "model.language_model.layers.1."
    mtp = {f"mtp.layers.0.{n.removeprefix(start)}": t.clone() for n, t in tensors.items() if n.startswith(start)}
    mtp["mtp.fc.weight"] = torch.randn(32, 64)
    save_file(tensors | mtp, there.source / "model.safetensors", metadata={"format": "pt"})
    given = config(there.source)
    given["text_config"]["mtp_num_hidden_layers"] = 1
    (there.source / "config.json").write_text(json.dumps(given))
    (warning,) = there.grow()
    assert (warning.code, f"{len(mtp)} tensors" in warning.message) == ("GROW668", True)
    assert config(there.grown)["text_config"]["mtp_num_hidden_layers"] == 0
    assert_carried(there.grown, {n: t for n, t in tensors.items() if n.startswith("model.visual.")})
    assert not any(name.startswith("mtp.") for name in read(there.grown))
    loaded(there.grown)


def test_a_tower_may_have_more_layers_than_the_language_model(tmp_path: Path) -> None:
    """Its third layer is none that predicts, though the config promises one and the language model has two."""
    there = whole(tmp_path, "llama4", FREE, vision_layers=4)
    given = config(there.source)
    given["text_config"]["num_nextn_predict_layers"] = 1
    (there.source / "config.json").write_text(json.dumps(given))
    assert "multi-token" not in growc("check", there.spec).output
    assert there.grow() == []
    assert any("vision_model.model.layers.3." in name for name in read(there.grown))
    assert config(there.grown)["text_config"]["num_nextn_predict_layers"] == 1
    loaded(there.grown)


def test_the_words_of_the_whole_stay(tmp_path: Path) -> None:
    """As published by transformers 4: rotary base and dtype inside of the text_config, unknown keys at either level."""
    there = whole(tmp_path, "llama4", FREE)
    given = config(there.source)
    text = given["text_config"]
    del text["rope_parameters"], given["dtype"]
    text.pop("dtype", None)
    text |= {"rope_theta": 500000.0, "rope_scaling": None, "torch_dtype": "bfloat16", "for_llm_compressor": False}
    given |= {"torch_dtype": "bfloat16", "surprise": 1, "transformers_version": "4.51.0"}
    (there.source / "config.json").write_text(json.dumps(given))
    there.grow()
    grown = config(there.grown)
    assert beside_text(grown) == beside_text(given)
    for key in text.keys() - {"num_local_experts"}:
        assert grown["text_config"][key] == text[key], key
    assert grown["text_config"]["rope_parameters"]["rope_theta"] == 500000.0
    loaded(there.grown)


def test_a_tensor_that_is_no_part_of_the_whole_is_refused(tmp_path: Path) -> None:
    there = whole(tmp_path, "llama4", FREE)
    more = {"vision_model.surprise": torch.zeros(2)}
    save_file(read(there.source) | more, there.source / "model.safetensors", metadata={"format": "pt"})
    assert refused(there).code == "GROW641"

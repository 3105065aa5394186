"""Growing a folder file to file gives what growing in memory gives, for every family, and transformers loads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from growc.anatomy.grown_format import GROWN
from growc.diagnostics import GrowcError
from growc.files.verify import verify
from growc.model import inspect
from growc.operators.allocation import Sampling, allocate
from growc.operators.experts import EXPERT_INITS
from growc.operators.scores import drawn
from tests.checkpoint.folders import EXPLICIT, Place, in_memory, place, read
from tests.families import FAMILIES, MOE_FAMILIES
from tests.operators_cases import EXACT

pytestmark = pytest.mark.share(8)

UNIFORM: dict[str, Any] = {"rule": "uniform"}

every_family = pytest.mark.parametrize("family", MOE_FAMILIES)


def load(folder: Path) -> Any:
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model, info = loaded
    assert not any(info.values()), info
    return model.eval()


def logits(folder: Path) -> Tensor:
    return logits_of(load(folder))


@torch.no_grad()
def logits_of(model: Any) -> Tensor:
    for tensor in model.parameters():  # where bytes lie in a mapped file decides how some sums are taken
        tensor.data = tensor.clone()
    ids = torch.randint(0, 256, (3, 24), generator=torch.Generator().manual_seed(1))
    return model.float()(ids).logits


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(found[name], tensor), name


@every_family
@pytest.mark.nightly(2)
@pytest.mark.parametrize("routing", ["exclusive", "free"])
@pytest.mark.parametrize("allocation", [UNIFORM, EXPLICIT], ids=["uniform", "explicit"])
def test_growth_file_to_file_is_growth_in_memory(
    tmp_path: Path, family: str, routing: str, allocation: dict[str, Any]
) -> None:
    there = place(tmp_path, family, {"routing": routing, "allocation": allocation})
    assert there.grow() == []
    assert_same(read(there.grown), in_memory(there))
    if routing == "exclusive":
        torch.testing.assert_close(logits(there.grown), logits(there.source), rtol=0, atol=2e-5)
    else:
        load(there.grown)
        config = json.loads((there.grown / "config.json").read_text())
        assert GROWN not in config
        assert config["model_type"] == FAMILIES[family]["model_type"]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "olmo2"])
@pytest.mark.parametrize("op", ["sparse_upcycling", "drop_upcycling", "virtual_group_upcycling"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_dense_folder_becomes_a_mixture(tmp_path: Path, family: str, op: str, dtype: torch.dtype) -> None:
    sizes = {"granularity": 4, "top_k": 4} if op == "virtual_group_upcycling" else {}
    there = place(tmp_path, family, {"op": op, "experts": 8, **sizes}, dtype=dtype, max_shard_size="20KB")
    assert there.grow() == []
    assert_same(read(there.grown), in_memory(there))
    if op != "drop_upcycling":
        tolerance = 2e-5 if dtype is torch.float32 else 5e-2
        torch.testing.assert_close(logits(there.grown), logits(there.source), rtol=0, atol=tolerance)
    stock = json.loads((there.grown / "config.json").read_text())["model_type"]
    assert stock == {"llama": "mixtral", "qwen3": "qwen3_moe", "olmo2": "flex_olmo", "gpt2": "growc"}[family]


@every_family
@pytest.mark.nightly(2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_shards_and_fresh_values_and_dtypes(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    split = {"router": {"init": "split"}}
    there = place(tmp_path, family, split, dtype=dtype, max_shard_size="20KB")
    assert len(list(there.source.glob("*.safetensors"))) > 2
    there.grow(shard_bytes=30_000)
    assert len(list(there.grown.glob("*.safetensors"))) > 2
    assert_same(read(there.grown), in_memory(there))
    assert load(there.grown).dtype == dtype


@pytest.mark.parametrize("family", ["glm4_moe", "gpt_oss"])
def test_noise_on_biases(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family, {"router": {"init": "copy", "bias_noise": 0.01}}, dtype=torch.bfloat16)
    there.grow()
    assert_same(read(there.grown), in_memory(there))


@pytest.mark.nightly(2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("family", ["glm4_moe", "gpt_oss"])
@pytest.mark.parametrize("init", [name for name in EXPERT_INITS if name != "copy"])
def test_experts_that_are_computed(tmp_path: Path, family: str, dtype: torch.dtype, init: str) -> None:
    more = {"dictionary": 24, "iterations": 5} if init == "sparse_code_mix" else {}
    there = place(tmp_path, family, {"experts": {"init": init, **more}, "allocation": EXPLICIT}, dtype=dtype)
    assert there.grow() == []
    assert_same(read(there.grown), in_memory(there))
    if init == "shuffle":
        tolerance = 2e-5 if dtype is torch.float32 else 5e-2
        torch.testing.assert_close(logits(there.grown), logits(there.source), rtol=0, atol=tolerance)


@every_family
@pytest.mark.nightly(2)
def test_two_operators_in_a_row(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family, {"layers": [1], "router": {"init": "split"}}, {})
    there.grow()
    assert_same(read(there.grown), in_memory(there))
    load(there.grown)


@every_family
def test_a_grown_folder_grows_again(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family, {"layers": [1]})
    there.grow()
    spec = json.loads(there.spec.read_text())
    spec["model"] = {"path": "grown"}
    del spec["stages"][0]["grow"][0]["layers"]
    again = Place(tmp_path / "again")
    again.root.mkdir()
    there.grown.rename(again.source)
    spec["model"] = {"path": "source"}
    again.spec.write_text(json.dumps(spec))
    again.grow()
    torch.testing.assert_close(logits(again.grown), logits(there.source), rtol=0, atol=2e-5)
    lineage = json.loads((again.grown / "growth.json").read_text())
    assert lineage["source"]["lineage"] == json.loads((again.source / "growth.json").read_text())


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {"router": {"init": "split"}})
    there.grow(shard_bytes=50_000)
    there.grow(tmp_path / "again", shard_bytes=50_000)
    names = sorted(file.name for file in there.grown.iterdir())
    assert names == sorted(file.name for file in (tmp_path / "again").iterdir())
    for name in names:
        assert (there.grown / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_another_seed_gives_other_values(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {"router": {"init": "split"}})
    there.grow()
    spec = json.loads(there.spec.read_text())
    there.spec.write_text(json.dumps({**spec, "training": {"seed": 1}}))
    there.grow(tmp_path / "other")
    before, after = read(there.grown), read(tmp_path / "other")
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        f"model.layers.{layer}.mlp.gate.weight" for layer in (0, 1)
    }


def test_weight_norms_allocate_copies_to_the_largest_experts(tmp_path: Path) -> None:
    rule = {"rule": "greedy", "score": "weight_norm", "cap": 3}
    there = place(tmp_path, "qwen3_moe", {"allocation": rule, "routing": "free"})
    there.grow()
    model = AutoModelForCausalLM.from_pretrained(there.source)
    lineage = json.loads((there.grown / "growth.json").read_text())["operators"][0]
    for layer in (0, 1):
        experts = model.model.layers[layer].mlp.experts
        weights = torch.cat([experts.gate_up_proj.flatten(1), experts.down_proj.flatten(1)], dim=1)
        squares = weights.double().square().sum(dim=1)
        assert lineage["scores"][str(layer)] == pytest.approx(squares.sqrt().tolist())
        order = squares.argsort(descending=True).tolist()
        replicas = [1] * 8
        for expert, extra in zip(order, (3, 3, 2), strict=False):
            replicas[expert] += extra
        assert lineage["replicas"][str(layer)] == replicas
    load(there.grown)


def test_chance_allocates_file_to_file_as_in_a_run(tmp_path: Path) -> None:
    rule = {"rule": "sampling", "score": "random", "cap": 3}
    there = place(tmp_path, "qwen3_moe", {"allocation": rule})
    there.grow()
    there.grow(tmp_path / "again")
    written = (there.grown / "growth.json").read_bytes()
    assert written == (tmp_path / "again/growth.json").read_bytes()
    lineage = json.loads(written)["operators"][0]
    for site in inspect(FAMILIES["qwen3_moe"], 16).moe:
        scores = drawn(site, "0/upcycle/0")
        assert lineage["scores"][str(site.layer)] == list(scores)
        settings = Sampling.model_validate(rule)
        expected = allocate(settings, scores, 2, seed=f"0/upcycle/0/{site.name}")
        assert lineage["replicas"][str(site.layer)] == list(expected)
    load(there.grown)


def test_the_number_of_experts_stands_under_the_names_of_the_hub_and_of_transformers(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {"routing": "free"})
    there.grow()
    config = json.loads((there.grown / "config.json").read_text())
    assert (config["num_experts"], config["num_local_experts"]) == (16, 16)
    assert config["architectures"] == ["Qwen3MoeForCausalLM"]
    assert config["dtype"] == "float32"


def test_tokenizer_and_generation_defaults_go_along(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    (there.source / "tokenizer.json").write_text("{}")
    (there.source / "README.md").write_text("of the source")
    (there.source / "pytorch_model.bin").write_bytes(b"pickle")
    there.grow()
    assert {file.name for file in there.grown.iterdir()} == {
        "README.md", "config.json", "generation_config.json", "growth.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip
    for name in ("generation_config.json", "tokenizer.json"):
        assert (there.grown / name).read_bytes() == (there.source / name).read_bytes()


def test_lineage_says_what_was_done(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {"layers": [1], "allocation": EXPLICIT})
    there.grow()
    lineage = json.loads((there.grown / "growth.json").read_text())
    (operator,) = lineage["operators"]
    assert (lineage["stage"], lineage["from"], operator["op"]) == ("upcycle", "source", "expert_upcycling")
    assert operator["replicas"] == {"1": EXPLICIT["replicas"]}
    assert len(lineage["source"]["digest"]) == 64
    (file,) = lineage["source"]["files"]
    assert (file["name"], file["size"]) == ("model.safetensors", (there.source / "model.safetensors").stat().st_size)
    assert lineage["spec"]["stages"][0]["grow"][0]["layers"] == [1]


def test_the_model_card_says_what_was_done(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    (there.source / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    there.grow()
    card = (there.grown / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n---\n# Tiny\n\n## Growth\n")
    assert "- `expert_upcycling`: layers all, factor 2, routing exclusive" in card
    assert "It needs `import growc` to load" in card


@pytest.mark.parametrize("name", ["config.json", "growth.json"])
def test_verify_knows_what_says_what_the_weights_are(tmp_path: Path, name: str) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    there.grow(verify=True)
    verify(there.grown)
    for spoil in (lambda path: path.write_text("{}"), Path.unlink):
        spoil(there.grown / name)
        with pytest.raises(GrowcError, match=f"GROW657.*{name}"):
            verify(there.grown)


@pytest.mark.parametrize("kept", ["model.embed_tokens.weight", "lm_head.weight", "both"])
def test_tied_tensors_under_either_name(tmp_path: Path, kept: str) -> None:
    from safetensors.torch import save_file

    there = place(tmp_path, "granitemoe", {})
    tensors = read(there.source)
    shared = tensors.pop("model.embed_tokens.weight")
    names = ("model.embed_tokens.weight", "lm_head.weight") if kept == "both" else (kept,)
    save_file(
        tensors | {name: shared.clone() for name in names},
        there.source / "model.safetensors",
        metadata={"format": "pt"},
    )
    there.grow()
    assert torch.equal(read(there.grown)["model.embed_tokens.weight"], shared)
    torch.testing.assert_close(logits(there.grown), logits(there.source), rtol=0, atol=2e-5)


@every_family
def test_a_folder_that_holds_tensors_as_they_are_in_memory(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family, {})
    model = AutoModelForCausalLM.from_pretrained(there.source)
    wanted = in_memory(there, original_format=False)
    model.save_pretrained(there.source, save_original_format=False)
    there.grow()
    assert_same(read(there.grown), wanted)
    load(there.grown)


def test_a_second_stage_grows_what_the_first_wrote(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    spec = json.loads(there.spec.read_text())
    measured = {"rule": "proportional", "score": "weight_norm"}
    spec["stages"] = [
        {"name": "first", "grow": [{"op": "expert_upcycling", **EXACT, "allocation": measured}]},
        {"name": "second", "grow": [{"op": "expert_upcycling", **EXACT}]},
    ]
    there.spec.write_text(json.dumps(spec))
    there.grow(stage="first")
    between = Place(tmp_path / "between")
    between.root.mkdir()
    between.spec.write_text(there.spec.read_text())
    there.grown.rename(between.source)
    between.grow(stage="second")
    torch.testing.assert_close(logits(between.grown), logits(there.source), rtol=0, atol=2e-5)


def test_long_computations_are_announced(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = place(tmp_path, "qwen3_moe", {"experts": {"init": "svd_perturb"}})
    there.grow(tmp_path / "quick")
    assert "of one core" not in capfd.readouterr().err
    monkeypatch.setattr("growc.checkpoint.prepare.TOLD_FROM", 0.0)
    there.grow()
    assert "computing new weights takes about" in capfd.readouterr().err

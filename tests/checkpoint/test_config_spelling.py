"""A grown config has every key of its source's config, in the source's words: older readers know no others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from growc.anatomy.grown_format import GROWN
from growc.files.strict import decoded, encoded
from growc.model import inspect
from growc.model.build import canonical, load_config
from tests.checkpoint.folders import Place, place, write_spec
from tests.command_line import growc
from tests.families import FAMILIES, MOE_FAMILIES, SIZES
from tests.operators_cases import EXACT

pytestmark = pytest.mark.share(4)

Config = dict[str, Any]

YARN: Config = {
    "beta_fast": 32, "beta_slow": 1, "factor": 4, "mscale": 1.0, "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 32, "type": "yarn",
}  # fmt: skip
"""As DeepSeek-V3's config has it."""


def read(folder: Path) -> Config:
    return json.loads((folder / "config.json").read_text())


def former(config: Config, **more: Any) -> Config:
    """A config in the words of transformers 4, with keys that no version knows."""
    old = {key: value for key, value in config.items() if key not in ("rope_parameters", "dtype")}
    old |= {"rope_theta": 1000000, "rope_scaling": None, "torch_dtype": config["dtype"]}
    own = {"_name_or_path": "/home/somebody", "surprise": {"a": [1, None]}, "pretraining_tp": 1}
    return old | own | {"transformers_version": "4.51.0", "attention_dropout": 0.0} | more


def with_config(there: Place, config: Config) -> Config:
    (there.source / "config.json").write_text(json.dumps(config))
    spec = json.loads(there.spec.read_text())
    there.spec.write_text(json.dumps(spec | {"model": {"path": "source"}}))
    return config


def changes(given: Config, grown: Config) -> set[str]:
    """Keys of the source's config that the grown one lacks or has otherwise."""
    return {key for key, value in given.items() if key not in grown or json.dumps(grown[key]) != json.dumps(value)}


def counts(family: str) -> set[str]:
    """The keys that count the experts of a family."""
    field = inspect(FAMILIES[family], 16).expert_field
    assert field is not None
    aliases = load_config(FAMILIES[family]).attribute_map
    return {field, *(alias for alias, name in aliases.items() if name == field)}


@pytest.mark.nightly(2)
@pytest.mark.parametrize("routing", ["free", pytest.param("exclusive", marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_every_key_of_the_source_stays(tmp_path: Path, family: str, routing: str) -> None:
    there = place(tmp_path, family, {"routing": routing})
    given = with_config(there, former(read(there.source)))
    for key in counts(family) - {"num_experts_per_tok"}:
        given[key] = 8
    with_config(there, given)
    there.grow()
    grown = read(there.grown)
    changed = changes(given, grown)
    assert changed == counts(family) | ({"model_type", "architectures"} if routing == "exclusive" else set())
    assert {grown[key] for key in counts(family)} == {16}
    assert grown["dtype"] == grown["torch_dtype"] == "float32"
    rope = canonical(load_config(given)).get("rope_parameters")
    assert grown["rope_parameters"] == rope
    assert "1000000" in json.dumps(rope)


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_the_words_of_today_stay_alone(tmp_path: Path, family: str) -> None:
    there = place(tmp_path, family, {"routing": "free"})
    given = read(there.source)
    there.grow()
    grown = read(there.grown)
    assert changes(given, grown) <= counts(family)
    assert not {"rope_theta", "rope_scaling", "torch_dtype"} & grown.keys() - given.keys()


def test_a_scaled_rope_stays_in_both_words(tmp_path: Path) -> None:
    there = place(tmp_path, "deepseek_v3", {"routing": "free"})
    given = with_config(there, former(read(there.source), rope_theta=10000.0, rope_scaling=YARN))
    there.grow()
    grown = read(there.grown)
    assert grown["rope_scaling"] == given["rope_scaling"]
    assert grown["rope_theta"] == 10000.0
    assert grown["rope_parameters"]["factor"] == 4
    assert (
        AutoConfig.from_pretrained(there.grown).rope_parameters
        == AutoConfig.from_pretrained(there.source).rope_parameters
    )


def test_a_dense_model_that_becomes_a_mixture_keeps_what_it_said(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3", {"op": "sparse_upcycling", "experts": 8})
    given = with_config(there, former(read(there.source)))
    there.grow()
    grown = read(there.grown)
    assert changes(given, grown) == {"model_type", "architectures"}
    assert grown["rope_theta"] == 1000000
    assert grown["rope_parameters"]["rope_theta"] == 1000000


def test_a_smaller_width_stands_under_every_name(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {"op": "expert_slimming", "share": 0.5, "choose": {"score": "weight_norm"}})
    given = with_config(there, former(read(there.source)))
    there.grow()
    assert changes(given, read(there.grown)) == {"moe_intermediate_size"}
    assert read(there.grown)["moe_intermediate_size"] == 8


def test_code_of_the_model_goes_with_its_class(tmp_path: Path) -> None:
    """Its tokenizer's code stays; code that would make the old class of the new weights does not."""
    code = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M", "AutoTokenizer": ["own.T", None]}
    there = place(tmp_path, "qwen3_moe", {"routing": "exclusive"})
    with_config(there, former(read(there.source), auto_map=code))
    there.grow()
    assert read(there.grown)["auto_map"] == {"AutoTokenizer": ["own.T", None]}
    write_spec(there, "qwen3_moe", {"routing": "free"})
    there.grow(tmp_path / "free")
    assert read(tmp_path / "free")["auto_map"] == code


def test_what_is_grown_again_and_merged_again_has_no_trace_of_groups(tmp_path: Path) -> None:
    there = place(tmp_path, "qwen3_moe", {})
    given = with_config(there, former(read(there.source)))
    there.grow()
    back = Place(tmp_path / "back")
    back.root.mkdir()
    there.grown.rename(back.source)
    write_spec(back, "qwen3_moe", {"op": "merge_duplicates"})
    with_config(back, read(back.source))
    back.grow()
    merged = read(back.grown)
    assert GROWN not in merged
    assert not changes(given, merged)


HYBRID: Config = SIZES | {
    "model_type": "granitemoehybrid", "intermediate_size": 16, "shared_intermediate_size": 16, "num_local_experts": 8,
    "num_experts_per_tok": 2, "layer_types": ["mamba", "attention"], "mamba_n_heads": 8, "mamba_d_head": 8,
    "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16, "time_step_limit": [0.0, math.inf],
}  # fmt: skip
"""Granite 4.0 H: published configs have an infinite number."""


@pytest.mark.parametrize("infinity", ["Infinity", '{"__float__": "Infinity"}'], ids=["literal", "tagged"])
def test_an_infinite_number_stays_in_its_words(tmp_path: Path, infinity: str) -> None:
    there = Place(tmp_path)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(load_config(HYBRID)).save_pretrained(there.source)
    text = (there.source / "config.json").read_text()
    tagged = json.dumps(read(there.source)["time_step_limit"])
    assert json.loads(text)["time_step_limit"] == [0.0, {"__float__": "Infinity"}], "as transformers writes it"
    given = json.dumps(json.loads(text)).replace(tagged, f"[0.0, {infinity}]")
    (there.source / "config.json").write_text(given)
    stages = [{"name": "upcycle", "grow": [{"op": "expert_upcycling", **EXACT}]}]
    there.spec.write_text(json.dumps({"growth": 1, "name": "t", "model": {"path": "source"}, "stages": stages}))
    there.grow()
    grown = read(there.grown)
    assert json.dumps(grown["time_step_limit"]) == f"[0.0, {infinity}]"
    assert list(load_config(grown).time_step_limit) == [0.0, math.inf]
    assert list(AutoConfig.from_pretrained(there.grown).time_step_limit) == [0.0, math.inf]
    again = Place(tmp_path / "again")
    again.root.mkdir()
    there.grown.rename(again.source)
    again.spec.write_text(there.spec.read_text())
    again.grow()
    assert json.dumps(read(again.grown)["time_step_limit"]) == f"[0.0, {infinity}]"
    assert growc("check", again.spec).exit_code == 0


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_has_no_word_for(number: float) -> None:
    value = {"a": [1.5, {"b": number}], "c": "Infinity", "__float__": 1}
    written = encoded(value)
    json.dumps(written, allow_nan=False)
    assert repr(decoded(written)) == repr(value)
    assert decoded({"__float__": "1.5"}) == {"__float__": "1.5"}

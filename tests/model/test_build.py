"""Configs: what transformers takes is built, and every mistake is a diagnostic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from growc.model import inspect
from growc.model.build import build_meta, canonical, load_config
from tests.families import FAMILIES

Refused = Callable[[Callable[[], object]], list[str]]

MOE = FAMILIES["qwen3_moe"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        pytest.param({"hidden_size": 32}, "GROW201 the config has no model_type", id="no model type"),
        pytest.param({"model_type": 3}, "GROW201 the config has no model_type", id="a number for a model type"),
        pytest.param({"model_type": "qwen3_mo"}, "did you mean qwen3_moe", id="a misspelt model type"),
        pytest.param({"model_type": "clip"}, "GROW201", id="no language model"),
        pytest.param({**MOE, "hidden_size": "x"}, "GROW202", id="text for a size"),
        pytest.param({**MOE, "hidden_size": -32}, "GROW203 hidden_size is -32", id="a negative size"),
        pytest.param({**MOE, "hidden_size": 10**9}, "GROW203 hidden_size is 1000000000", id="more than any model has"),
        pytest.param({**FAMILIES["gpt2"], "n_embd": 10**9}, "GROW203 n_embd is 1000000000", id="the same by its alias"),
        pytest.param({**MOE, "num_hidden_layers": 0}, "GROW203 num_hidden_layers is 0", id="no layers"),
        pytest.param(
            {**MOE, "num_experts_per_tok": 9}, "GROW203 the router chooses 9", id="more chosen than there are"
        ),
        pytest.param({**FAMILIES["deepseek_v3"], "n_group": 3}, "GROW203 8 experts", id="groups that do not divide"),
        pytest.param(
            {**FAMILIES["gpt_oss"], "layer_types": ["full_attention"]}, "GROW202", id="a short list of layers"
        ),
        pytest.param({**MOE, "hidden_act": "none"}, "GROW202", id="an unknown activation"),
        pytest.param({**MOE, "growc": {"layers": {}}}, "GROW202 `growc` belongs", id="a stray section"),
        pytest.param({**MOE, "model_type": "growc", "growc": {"replicas": 5}}, "GROW202 `growc` must", id="a stub"),
        pytest.param(
            {**MOE, "model_type": "growc", "growc": {"model_type": "qwen3_moe", "layers": {"0": {"replicas": 2}}}},
            "GROW202 `growc.layers`",
            id="a layer of the wrong shape",
        ),
        pytest.param({**MOE, "num_attention_heads": 3}, "GROW204", id="heads that do not fit key heads"),
    ],
)
def test_mistakes_in_a_config(refused: Refused, config: dict[str, Any], said: str) -> None:
    assert said in "\n".join(refused(lambda: inspect(config, 16)))


def test_all_impossible_sizes_are_told_at_once(refused: Refused) -> None:
    found = refused(lambda: load_config({**MOE, "vocab_size": -1, "num_hidden_layers": -2, "num_experts_per_tok": 9}))
    assert len(found) == 3


def test_keys_that_name_code_or_kernels_are_not_carried() -> None:
    config = load_config({**MOE, "auto_map": {"AutoConfig": "evil.Config"}, "_attn_implementation": "org/kernel"})
    assert "auto_map" not in config.to_dict()
    assert getattr(build_meta(config).config, "_attn_implementation") == "growc"  # noqa: B009


def test_the_canonical_config_resolves_aliases_and_builds_the_same() -> None:
    given = {key: value for key, value in MOE.items() if key != "num_local_experts"} | {"num_experts": 8}
    explicit = canonical(load_config(given))
    assert explicit["num_local_experts"] == 8
    assert "num_experts" not in explicit
    assert canonical(load_config(explicit)) == explicit == canonical(load_config(MOE))


@pytest.mark.parametrize("rope", [{"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "yarn", "factor": 2.0}])
def test_scaled_positions_can_be_traced(rope: dict[str, Any]) -> None:
    scaled = {**FAMILIES["llama"], "rope_parameters": {"rope_theta": 10000.0, **rope}}
    assert inspect(scaled, 16).tensors.keys() == inspect(FAMILIES["llama"], 16).tensors.keys()


def test_positions_with_long_and_short_factors_can_be_traced() -> None:
    factors = dict(long_factor=[1.0] * 4, short_factor=[1.0] * 4, short_mscale=1.2, long_mscale=1.2)
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64, **factors}
    assert inspect({**FAMILIES["phimoe"], "rope_parameters": rope}, 16).layers == 2


@pytest.mark.parametrize("model_type", ["falcon", "bloom"])
def test_attention_outside_of_the_interface_is_refused(refused: Refused, model_type: str) -> None:
    assert "mixes positions in code of its own" in refused(lambda: inspect({"model_type": model_type}, 16))[0]


def test_a_composite_config_means_its_language_model() -> None:
    whole = inspect({"model_type": "llama4", "text_config": FAMILIES["llama4_text"]}, 16)
    assert whole == inspect(FAMILIES["llama4_text"], 16)


@pytest.mark.parametrize("model_type", ["qwen3_next", "doge"])
def test_modules_made_in_passing_and_masks_by_name(model_type: str) -> None:
    assert inspect({"model_type": model_type, "num_hidden_layers": 4, "layer_types": None}, 16).unreached == ()


def test_a_meta_model_is_on_meta_and_leaves_its_config_alone() -> None:
    config = load_config(MOE)
    before = config.to_dict()
    model = build_meta(config, torch.float32)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert config.to_dict() == before


def test_a_model_without_shared_experts_is_built_without_a_warning() -> None:
    """Warnings are errors here."""
    assert FAMILIES["glm4_moe"]["n_shared_experts"]
    assert inspect({**FAMILIES["glm4_moe"], "n_shared_experts": 0}, 32).moe

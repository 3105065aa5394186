"""Sites: what is found where, in every family and in layouts made to mislead."""

from __future__ import annotations

import pytest

from growc.model import inspect
from growc.model.sites import common_module
from tests.families import FAMILIES, MOE_FAMILIES

DENSE_LAYERS = {"deepseek_v3": [0], "deepseek_v3_groups": [0], "glm4_moe": [0], "llama4_text": [0]}
BIASED = ("deepseek_v3", "deepseek_v3_groups", "glm4_moe")


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_every_mixture_of_experts_is_found_whole(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    dense = DENSE_LAYERS.get(family, [])
    assert [site.layer for site in graph.moe] == [i for i in range(graph.layers) if i not in dense]
    for site in graph.moe:
        assert site.num_experts == 8
        assert site.top_k == FAMILIES[family]["num_experts_per_tok"]
        assert site.dense_dispatch == (family == "llama4_text")
        assert site.routing_groups == (2 if family == "deepseek_v3_groups" else 1)
        assert site.experts.startswith(f"{site.block}.")
        assert site.router.startswith(f"{site.block}.")
        whole = {name for name in graph.tensors if name.startswith(f"{site.block}.") and "shared" not in name}
        bias = {site.selection_bias} - {None}
        assert {*site.expert_tensors, *site.router_rows, *bias} == whole
        assert all(graph.tensors[name].shape[0] == 8 for name in whole)
        assert all(graph.tensors[name].kind == "parameter" for name in site.router_rows)


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_a_selection_bias_is_a_buffer_of_one_number_per_expert(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    for site in graph.moe:
        assert (site.selection_bias is not None) == (family in BIASED)
        if site.selection_bias is not None:
            info = graph.tensors[site.selection_bias]
            assert (info.kind, info.shape) == ("buffer", (8,))


def test_a_router_bias_counts_as_rows() -> None:
    site = inspect(FAMILIES["gpt_oss"], 64).moe[0]
    assert site.router_rows == (f"{site.router}.weight", f"{site.router}.bias")
    assert len(site.expert_tensors) == 4


def test_a_projection_with_as_many_rows_as_experts_is_no_router() -> None:
    config = {**FAMILIES["qwen3_moe"], "num_local_experts": 16}  # two key heads of width eight: sixteen rows
    assert [site.router for site in inspect(config, 64).moe] == ["model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]


@pytest.mark.parametrize("family", FAMILIES)
def test_dense_networks_are_found(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    moe_layers = {site.layer for site in graph.moe}
    dense = {site.layer for site in graph.ffn if not any(site.block.startswith(f"{m.block}.") for m in graph.moe)}
    assert dense == set(range(graph.layers)) - moe_layers
    for site in graph.ffn:
        assert graph.tensors[f"{site.down}.weight"].shape.count(site.width) == 1
        assert len(site.up) == (1 if family == "gpt2" else 2)


def test_shared_experts_are_dense_networks_inside_the_mixture() -> None:
    graph = inspect(FAMILIES["deepseek_v3"], 64)
    shared = [site.block for site in graph.ffn if site.layer > 0]
    assert shared == [f"{site.block}.shared_experts" for site in graph.moe]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_attention_per_layer(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    assert [site.layer for site in graph.attention] == list(range(graph.layers))
    for site in graph.attention:
        assert site.heads == 4
        assert site.output is not None
        assert all(f"{name}.weight" in graph.tensors for name in (*site.query, *site.key, *site.value, site.output))


def test_heads_widths_and_windows() -> None:
    latent = inspect(FAMILIES["deepseek_v3"] | {"v_head_dim": 12}, 64).attention[0]
    assert (latent.qk_width, latent.v_width) == (16, 12)
    assert inspect(FAMILIES["gpt2"], 64).attention[0].query == ("transformer.h.0.attn.c_attn",)
    assert [site.window for site in inspect(FAMILIES["gpt_oss"], 64).attention] == [16, None]
    assert [site.window for site in inspect(FAMILIES["llama4_text"], 64).attention] == [16, 16]
    assert inspect(FAMILIES["llama"], 64).attention[0].kv_heads == 2


@pytest.mark.parametrize(
    ("family", "changes", "pattern"),
    [
        ("llama", {}, "A2"),
        ("deepseek_v3", {"num_hidden_layers": 5, "first_k_dense_replace": 2}, "A2B3"),
        ("gpt_oss", {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}, "(AB)2"),
        ("qwen3_moe", {"num_hidden_layers": 4, "mlp_only_layers": [1]}, "ABA2"),
        ("llama4_text", {"num_hidden_layers": 8}, "(ABAC)2"),  # every fourth layer has no rotary positions
    ],
)
def test_blocks_that_are_alike_share_a_letter(family: str, changes: dict[str, object], pattern: str) -> None:
    graph = inspect({**FAMILIES[family], **changes}, 64)
    assert graph.blocks.pattern == pattern
    assert graph.layers == len(graph.blocks.letters)
    assert any(name.startswith(f"{graph.blocks.path}.0.") for name in graph.tensors)


def test_the_common_module() -> None:
    assert common_module("a.b.c", "a.b.d.e") == "a.b"
    assert common_module("a.b.c") == "a.b"
    assert common_module("a.bc.d", "a.b.d") == "a"

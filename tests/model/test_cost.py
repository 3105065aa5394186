"""Costs: parameters and FLOPs against counts by hand and by torch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from growc.anatomy.model_graph import ModelGraph
from growc.model import cost, inspect, sites
from growc.model.attention import NAME, attention_flops
from growc.model.build import build_meta, load_config
from growc.model.inspect import inspect as inspect_config
from growc.model.trace import trace
from tests.families import FAMILIES, MOE_FAMILIES

pytestmark = pytest.mark.share(3)


def active_matmul_params(graph: ModelGraph) -> float:
    """Parameters of linear maps, routers and experts, each expert by its chance of being met."""
    share = {name: site.top_k / site.num_experts for site in graph.moe for name in site.expert_tensors}
    head = any(name.startswith("lm_head") for name in graph.tensors)
    embeddings = ("embed_tokens.weight", "wte.weight", "wpe.weight")
    return sum(
        t.size * share.get(t.name, 1)
        for t in graph.tensors.values()
        if t.kind == "parameter"
        and len(t.shape) >= (3 if t.name in share else 2)
        and not (t.name.endswith(embeddings[:2]) and head)
        and not t.name.endswith(embeddings[2])
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_linear_flops_are_two_per_active_matrix_parameter(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    assert graph.cost.linear_flops == pytest.approx(2 * active_matmul_params(graph), rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_totals_are_the_models_own(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    model = build_meta(load_config(FAMILIES[family]))
    assert graph.cost.total_params == sum(p.numel() for p in model.parameters())
    assert graph.unreached == ()
    if family not in MOE_FAMILIES:
        assert graph.cost.active_params == graph.cost.total_params


def test_the_parts_of_a_dense_model_by_hand() -> None:
    parts = inspect(FAMILIES["llama"], 100).cost.parts
    assert parts == {
        "attention_projections": 2 * 2 * (32 * 32 + 2 * 32 * 16 + 32 * 32),
        "attention": 2 * 2 * 4 * 100 * (8 + 8),
        "router": 0,
        "experts": 0,
        "shared": 0,
        "dense_ffn": 2 * 2 * 3 * 32 * 48,
        "head": 2 * 32 * 256,
        "other": 0,
    }


def test_the_parts_of_a_mixture_by_hand() -> None:
    parts = inspect(FAMILIES["deepseek_v3"], 64).cost.parts
    assert parts["router"] == 2 * 2 * 32 * 8
    assert parts["experts"] == 2 * 2 * 2 * 3 * 32 * 16
    assert parts["shared"] == 2 * 2 * 3 * 32 * 16
    assert parts["dense_ffn"] == 2 * 3 * 32 * 48
    assert parts["other"] == 0


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_more_experts_of_the_same_count_chosen_cost_only_the_router(family: str) -> None:
    before = inspect(FAMILIES[family], 64)
    assert before.expert_field is not None
    after = inspect({**before.config, before.expert_field: 16}, 64).cost
    router = before.cost.router_flops_per_token
    assert after.router_flops_per_token == 2 * router
    assert after.flops_per_token - before.cost.flops_per_token == pytest.approx(router)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 10_000))
def test_the_sequence_length_enters_by_windows_only(family: str, length: int) -> None:
    whole = inspect(FAMILIES[family], 64).cost
    at = whole.at(length)
    windows = [site.window or math.inf for site in inspect(FAMILIES[family], 64).attention]
    assert at.linear_flops == whole.linear_flops
    assert at.flops_per_token == pytest.approx(at.linear_flops + at.parts["attention"])
    per_layer = whole.attention_flops_per_position / len(windows)
    assert at.parts["attention"] == pytest.approx(sum(per_layer * min(length, w) for w in windows))


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3", "gpt_oss"])
def test_grouped_products_count_like_batched_ones(family: str) -> None:
    config = load_config(FAMILIES[family])
    with torch.device("meta"):
        grouped = AutoModelForCausalLM.from_config(
            config, attn_implementation=NAME, experts_implementation="grouped_mm", dtype=torch.bfloat16
        ).eval()
    graph = trace(grouped, 64)
    batched = inspect(FAMILIES[family], 64)
    counted = cost.count(graph, sites.find(graph, grouped, batched.blocks), batched.blocks, batched.tensors, "lm_head")
    assert counted == batched.cost


def test_attention_by_its_shapes() -> None:
    assert attention_flops((1, 4, 10, 8), (1, 2, 10, 8), (1, 2, 10, 6), 0) == 2 * 4 * 10 * 10 * 14
    assert attention_flops((1, 4, 10, 8), (1, 2, 10, 8), (1, 2, 10, 6), 3) == 2 * 4 * 10 * 3 * 14


def test_dense_dispatch_counts_the_chosen_experts_only() -> None:
    config: dict[str, Any] = FAMILIES["llama4_text"]
    parts = inspect_config(config, 64).cost.parts
    assert parts["experts"] == 2 * 3 * 32 * 16

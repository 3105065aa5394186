"""Drawn models: the same in every call, whatever lay in memory, and with nothing in them idle or out of place."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
import torch

from growc.checks.representative_layers import check_kinds
from growc.diagnostics import GrowcError
from growc.model.drawn import AHEAD, build, draw
from growc.model.inspect import inspect
from growc.model.reach import LENGTH, NEAR, within_reach
from growc.model.shrink import shrink
from tests.families import FAMILIES, SIZES

pytestmark = pytest.mark.share(3)

inspecting: Any = import_module("growc.model.inspect")  # the package has a function of that name

LAYERS: dict[str, Any] = dict(SIZES, num_hidden_layers=4, intermediate_size=48)
SLIDING = ["sliding_attention"] * 3 + ["full_attention"]
GEMMA3 = dict(LAYERS, model_type="gemma3_text", sliding_window=4096, layer_types=SLIDING)
INKLING: dict[str, Any] = dict(
    {key: value for key, value in LAYERS.items() if key != "num_hidden_layers"},
    model_type="inkling_text",
    num_hidden_layers=2,
    swa_num_attention_heads=4,
    swa_num_key_value_heads=2,
    swa_head_dim=8,
    d_rel=16,
    layer_types=["hybrid_sliding", "hybrid"],
    mlp_layer_types=["sparse", "sparse"],
    moe_intermediate_size=24,
    n_routed_experts=8,
    num_experts_per_tok=2,
    n_shared_experts=1,
)
TABLES: dict[str, Any] = dict(  # of which expert a word gets, as whole numbers
    {key: value for key, value in SIZES.items() if key not in ("num_hidden_layers", "num_key_value_heads")},
    model_type="deepseek_v4",
    num_hidden_layers=2,
    num_key_value_heads=1,
    moe_intermediate_size=24,
    q_lora_rank=16,
    n_routed_experts=8,
    num_experts_per_tok=2,
    layer_types=["heavily_compressed_attention", "compressed_sparse_attention"],
    mlp_layer_types=["hash_moe", "moe"],
    sliding_window=16,
    o_groups=2,
    o_lora_rank=16,
    index_n_heads=4,
    index_head_dim=8,
    index_topk=4,
)


@contextmanager
def _memory_of_nan() -> Generator[None]:
    """Within: memory that nothing has been written to holds NaN, and the largest whole numbers."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("family", [*FAMILIES, "inkling_text"])
def test_what_is_found_does_not_depend_on_what_lay_in_memory(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROWC_CACHE", "off")
    config = INKLING if family == "inkling_text" else FAMILIES[family]
    inspecting._inspect.cache_clear()
    found = inspect(config, LENGTH)
    inspecting._inspect.cache_clear()
    with _memory_of_nan():
        assert inspect(config, LENGTH) == found


def test_tables_of_whole_numbers_are_left_alone() -> None:
    built, drawn = build(TABLES).state_dict(), draw(TABLES, seed=0).state_dict()
    tables = [name for name, tensor in built.items() if not tensor.is_floating_point()]
    assert tables
    assert all(torch.equal(drawn[name], built[name]) for name in tables)
    assert all(not torch.equal(drawn[n], t) for n, t in built.items() if t.is_floating_point())


@pytest.mark.parametrize("family", FAMILIES)
def test_no_tensor_of_a_drawn_model_is_constant_and_one_expert_is_ahead(family: str) -> None:
    graph = inspect(FAMILIES[family], LENGTH)
    state = draw(graph.config, 0, of_experts=graph.expert_vectors).state_dict()
    for name, tensor in state.items():
        assert tensor.isfinite().all(), name
        assert tensor.std() > 0.05, name
    for name in graph.expert_vectors:
        first, second = state[name].flatten().sort(descending=True).values[:2].tolist()
        assert first - second > AHEAD / 2, name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_draws_the_same_model_and_another_one_another(family: str) -> None:
    first, again, other = (draw(FAMILIES[family], seed).state_dict() for seed in (0, 0, 1))
    for name, tensor in first.items():
        assert torch.equal(again[name], tensor), name
        assert not tensor.is_floating_point() or not torch.equal(other[name], tensor), name


def test_a_window_comes_near_and_what_sees_no_farther_stays() -> None:
    small = inspect(shrink(inspect(GEMMA3, LENGTH), 4), LENGTH)
    near = within_reach(small)
    assert near["sliding_window"] == NEAR
    assert near["max_position_embeddings"] == small.config["max_position_embeddings"]
    assert within_reach(inspect(near, LENGTH)) == near
    chunked = inspect({**FAMILIES["llama4_text"], "attention_chunk_size": 64}, LENGTH)
    assert within_reach(chunked)["attention_chunk_size"] == NEAR


def test_a_small_model_in_which_two_kinds_of_layers_are_alike_is_no_proof() -> None:
    model = inspect(GEMMA3, LENGTH)
    check_kinds(model, model)
    with pytest.raises(GrowcError, match="GROW406 layers 0 and 3 differ in the model, and are alike in small"):
        check_kinds(model, inspect({**GEMMA3, "layer_types": ["sliding_attention"] * 4}, LENGTH))

"""Growth in depth: rules, configs that must follow, and what cannot be had."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.families.configs import find
from benchmarks.families.sweep import runs
from growc.anatomy.model_graph import ModelGraph
from growc.checks.twin import LENGTH
from growc.growth.rewrite import refusals, rewrite
from growc.model import inspect
from growc.model.closing import closing
from growc.operators import operator
from growc.operators.deepen import Deepen
from growc.operators.siblings import siblings_after
from tests.families import FAMILIES, SIZES

ORDERS: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"rule": "stack", "times": 2}, (0, 1, 2, 3, 4, 0, 1, 2, 3, 4)),
    ({"rule": "interpose"}, (0, 0, 1, 1, 2, 2, 3, 3, 4, 4)),
    ({"rule": "every", "layers": 2}, (0, 1, 1, 2, 3, 3, 4)),
    ({"rule": "last", "layers": 2}, (0, 1, 2, 3, 4, 3, 4)),
    ({"rule": "seam", "drop": 1}, (0, 1, 2, 3, 1, 2, 3, 4)),
    ({"rule": "explicit", "layers": [4, 0]}, (4, 0)),
]


def deepen(order: dict[str, Any], **settings: Any) -> Deepen:
    return Deepen.model_validate({"order": order, **settings})


def model(family: str, **fields: Any) -> ModelGraph:
    return inspect({**FAMILIES[family], **fields}, LENGTH)


def grown(source: ModelGraph, grows: Deepen) -> ModelGraph:
    assert not refusals(grows, source)
    return rewrite(grows, source, seed="0", sequence_length=LENGTH).grown


@pytest.mark.parametrize(("rule", "order"), ORDERS)
def test_a_rule_gives_its_order(rule: dict[str, Any], order: tuple[int, ...]) -> None:
    assert deepen(rule).order_of(5) == order


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "last", "layers": 3},
        {"rule": "seam", "drop": 2},
        {"rule": "every", "layers": 3},
        {"rule": "explicit", "layers": [0, 2]},
        {"rule": "explicit", "layers": [0, 1]},
    ],
)
def test_an_order_that_asks_for_other_layers_or_nothing_new_is_refused(rule: dict[str, Any]) -> None:
    assert [problem.code for problem in refusals(deepen(rule), model("llama"))] == ["GROW396"]


def test_lists_and_counts_of_layers_follow_the_order() -> None:
    kinds = ["sliding_attention", "full_attention"]
    windows = model("qwen3", layer_types=kinds, sliding_window=8, use_sliding_window=True)
    assert grown(windows, deepen({"rule": "interpose"})).config["layer_types"] == [k for k in kinds for _ in range(2)]
    dense_first = model("deepseek_v3")
    assert grown(dense_first, deepen({"rule": "interpose"})).config["first_k_dense_replace"] == 2
    assert grown(dense_first, deepen({"rule": "last", "layers": 1})).config["first_k_dense_replace"] == 1


def test_numbers_of_layers_follow_the_order() -> None:
    """Llama 4 lists its mixtures by their numbers."""
    config = grown(model("llama4_text"), deepen({"rule": "interpose"})).config
    assert config["moe_layers"] == [2, 3]


def test_an_order_that_the_config_cannot_say_is_refused() -> None:
    (problem,) = refusals(operator("stack").model_validate({}), model("deepseek_v3"))
    assert problem.code == "GROW396"
    assert "0, 1, 2, 0, 1, 2" in problem.message


def test_a_block_that_is_no_sum_with_its_input_cannot_start_closed() -> None:
    """OPT-350M normalises the sum itself."""
    sizes = {"hidden_size": 32, "ffn_dim": 48, "word_embed_proj_dim": 32, "num_hidden_layers": 2, "vocab_size": 256}
    rest = {"num_attention_heads": 4, "max_position_embeddings": 128, "do_layer_norm_before": False}
    source = inspect({"model_type": "opt", **sizes, **rest}, LENGTH)
    (problem,) = refusals(deepen({"rule": "interpose"}, start="closed"), source)
    assert (problem.code, problem.where) == ("GROW397", ("start",))
    assert not refusals(deepen({"rule": "interpose"}), source)


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        ("qwen3", {"self_attn.o_proj.weight", "mlp.down_proj.weight"}),
        ("gpt2", {"attn.c_proj.weight", "attn.c_proj.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"}),
        ("olmo2", {"post_attention_layernorm.weight", "post_feedforward_layernorm.weight"}),
        (
            "gpt_oss",
            {"self_attn.o_proj.weight", "self_attn.o_proj.bias", "mlp.experts.down_proj", "mlp.experts.down_proj_bias"},
        ),
    ],
)
def test_what_closes_a_layer_is_found(family: str, ends: set[str]) -> None:
    source = model(family)
    assert closing(source) == {f"{source.blocks.path}.{i}.{end}": 0.0 for i in range(source.layers) for end in ends}


def test_gains_that_are_stored_less_one_close_at_minus_one() -> None:
    source = inspect({**SIZES, "model_type": "gemma2", "intermediate_size": 48, "query_pre_attn_scalar": 8}, LENGTH)
    assert set(closing(source).values()) == {-1.0}
    assert all("post_" in name for name in closing(source))


def test_siblings_follow_their_layers() -> None:
    grows = deepen({"rule": "interpose"})
    after = siblings_after(grows, {1: (2, 2)}, {}, grows.order_of(2))
    assert after == {2: (2, 2), 3: (2, 2)}


def test_layers_that_would_share_weights_with_their_copies_are_refused() -> None:
    """Zamba2 has one attention block for all of its hybrid layers; the small model has one such layer."""
    source = inspect(find("zamba2", runs).config.to_dict(), LENGTH)
    (problem,) = refusals(deepen({"rule": "last", "layers": 1}), source)
    assert problem.code == "GROW396"

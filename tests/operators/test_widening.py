"""Growth in width: maps of axes, what noise does, and what cannot be had."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.widths import HEADS, STREAM, WidthAxis
from growc.checks.loss import prove
from growc.checks.twin import LENGTH, grow_twin, tokens
from growc.growth.rewrite import refusals
from growc.model import inspect
from growc.operators import operator
from growc.operators.axis_maps import copies
from growc.operators.claims import Preserves
from growc.operators.hypercloning import HyperCloning
from growc.operators.widen import Widen
from tests.battery.gradients import gradients
from tests.families import FAMILIES, SIZES


def widen(**to: int) -> Widen:
    return Widen.model_validate({"to": to})


def model(family: str) -> ModelGraph:
    return inspect(FAMILIES[family], LENGTH)


def codes(grows: Any, source: ModelGraph) -> list[str]:
    return [problem.code for problem in refusals(grows, source)]


@pytest.mark.parametrize("after", [64, 96, 33, 40, 63])
def test_the_stream_keeps_the_mean_of_its_squares_and_readers_their_sum(after: int) -> None:
    grown = copies(WidthAxis(STREAM, 32, after))
    held, share = torch.tensor(grown.held, dtype=torch.float64), torch.tensor(grown.share, dtype=torch.float64)
    source = torch.tensor(grown.source)
    for feature in range(32):
        assert float(held[source == feature].square().sum()) == pytest.approx(after / 32)
        assert float(share[source == feature].sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("heads", "groups", "source"),
    [
        ((4, 8), (2, 4), (0, 1, 2, 3, 0, 1, 2, 3)),  # both twice: groups stay whole
        ((4, 8), (2, 2), (0, 1, 0, 1, 2, 3, 2, 3)),  # more queries: in a circle inside of their group
        ((4, 4), (2, 4), (0, 2, 1, 3)),  # more keys: their copies share the queries
        ((4, 6), (2, 2), (0, 1, 0, 2, 3, 2)),
    ],
)
def test_a_query_head_stays_with_its_keys(
    heads: tuple[int, int], groups: tuple[int, int], source: tuple[int, ...]
) -> None:
    assert copies(WidthAxis(HEADS, *heads, groups)).source == source


@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt_oss"])
@pytest.mark.parametrize("heads", [(4, 4), (12, 4)])
def test_copies_of_keys_that_serve_different_queries_learn_what_their_source_would_together(
    family: str, heads: tuple[int, int]
) -> None:
    grows = widen(num_attention_heads=heads[0], num_key_value_heads=heads[1], hidden_size=96)
    twin = grow_twin(model(family), [grows], seed=0)
    assert prove(twin, Preserves.EXACTLY).holds
    ids = tokens(twin.source, seed=2)
    before, after = gradients(twin.source, ids), gradients(twin.grown, ids)
    for kind in ("k_proj", "v_proj"):
        name = f"model.layers.1.self_attn.{kind}.weight"
        of_keys = after[name].view(2, 16, 3, 32).sum(dim=0)  # two copies of each head, three of each feature
        torch.testing.assert_close(of_keys, before[name][:, None].expand_as(of_keys), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("family", "to", "code"),
    [
        ("deepseek_v3", {"num_attention_heads": 8, "num_key_value_heads": 8}, "GROW398"),  # made of latents
        ("llama", {"head_dim": 16}, "GROW398"),
        ("llama", {"vocab_size": 512}, "GROW398"),
        ("llama", {"num_attention_heads": 5}, "GROW398"),  # the family refuses it
        ("gpt2", {"hidden_size": 48, "num_attention_heads": 6}, "GROW399"),  # its norms subtract the mean
        ("llama", {"hidden_size": 16}, "GROW399"),
        ("llama", {"hidden_size": 32}, "GROW399"),
        ("olmo2", {"num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 64}, None),
        ("olmo2", {"num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 48}, "GROW399"),
        ("qwen3", {"num_attention_heads": 4, "num_key_value_heads": 4}, None),
        ("qwen3", {"num_attention_heads": 8, "num_key_value_heads": 8}, None),
        ("gpt2", {"hidden_size": 64, "num_attention_heads": 8}, None),
    ],
)
def test_sizes_that_a_model_cannot_have_are_refused(family: str, to: dict[str, int], code: str | None) -> None:
    assert codes(widen(**to), model(family)) == ([code] if code else [])


def test_a_number_that_follows_the_width_is_refused() -> None:
    gemma = inspect({**SIZES, "model_type": "gemma2", "intermediate_size": 48, "query_pre_attn_scalar": 8}, LENGTH)
    (problem,) = refusals(widen(hidden_size=64), gemma)
    assert problem.code == "GROW398"
    assert "embed" in problem.message
    assert not codes(widen(intermediate_size=96), gemma)


def test_copies_that_stay_equal_are_told_of() -> None:
    quiet, noisy = ({"factor": 2}, {"factor": 2, "noise": 0.01})
    for settings, expected in ((quiet, ["GROW400"]), (noisy, [])):
        grows = HyperCloning.model_validate(settings)
        assert [remark.code for remark in grows.remarks(model("llama"))] == expected


def test_noise_sets_copies_apart_and_even_ones_stay_alike() -> None:
    for noise, apart in ((0.0, False), (0.05, True)):
        grows = operator("hypercloning").model_validate({"noise": noise})
        twin = grow_twin(model("qwen3"), [grows], seed=0)
        found = gradients(twin.grown, tokens(twin.source, seed=2))["model.layers.1.mlp.up_proj.weight"]
        copied = found.view(2, 48, 64)
        assert torch.allclose(copied[0], copied[1], rtol=0, atol=1e-12) != apart

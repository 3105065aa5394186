"""Mixtures of routers: how heads become routers, what the three ways to combine compute, and how they grow on."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import Heads
from growc.checks.loss import prove
from growc.checks.twin import LENGTH, Twin, grow_twin
from growc.growth.rewrite import rewrite
from growc.model import inspect
from growc.model.drawn import draw
from growc.nn.mixture_of_routers import MixtureOfRouters
from growc.numerics.router_init import pairs
from growc.operators import operator
from growc.operators.claims import Preserves
from growc.operators.facets import Drops, measure_of
from growc.operators.means import MeanTokens
from growc.operators.router_upcycling import RouterUpcycling
from growc.programs import Deferred, Made
from tests.families import FAMILIES, SIZES

pytestmark = pytest.mark.share(4)

FUSED: dict[str, dict[str, Any]] = {
    "gpt2": FAMILIES["gpt2"],
    "gpt_neox": dict(
        model_type="gpt_neox",
        vocab_size=256,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=128,
    ),
}
WAYS: dict[str, dict[str, Any]] = {
    "mean": {"combine": "mean_softmax"},
    "apart": {"combine": "per_router_keys"},
    "sum": {"combine": "sum_logits"},
    "token": {"combine": "mean_softmax", "keys": "token"},
    "token-sum": {"combine": "sum_logits", "keys": "token"},
    "calibrated": {"combine": "mean_softmax", "keys": "calibrated"},
    "calibrated-apart": {"combine": "per_router_keys", "keys": "calibrated"},
    "calibrated-sum": {"combine": "sum_logits", "keys": "calibrated"},
}
way = pytest.mark.parametrize("way", WAYS)


@cache
def source(family: str) -> ModelGraph:
    return inspect((FAMILIES | FUSED)[family], LENGTH)


@cache
def twin(family: str, way: str, experts: int = 4) -> Twin:
    settings = {} if source(family).moe else {"experts": experts}
    return grow_twin(source(family), [operator("router_upcycling").model_validate(WAYS[way] | settings)], 0)


def router_of(grown: Twin, layer: int = 0) -> MixtureOfRouters:
    router = grown.grown.get_submodule(grown.steps[-1].rewrite.grown.moe[layer].router)
    assert isinstance(router, MixtureOfRouters)
    return router


def scores(router: MixtureOfRouters, x: Tensor) -> Tensor:
    """s_re of one token for all routers and experts, by the definition."""
    how, experts = router.mixing, len(router.weight)
    queries = router.queries.view(how.routers, how.width, how.inputs)
    found = torch.empty(how.routers, experts, dtype=x.dtype)
    for r in range(how.routers):
        for e in range(experts):
            key = router.weight[e]
            if how.keys == "token":
                key = key.view(how.width, how.inputs) @ x
            elif how.combine == "per_router_keys":
                key = key.view(how.routers, how.width)[r]
            found[r, e] = (queries[r] @ x) @ key / how.width**0.5
    return found


def test_heads_are_paired_with_the_most_similar_that_is_left() -> None:
    a, b, c = (torch.eye(4, dtype=torch.float64)[i].view(2, 2) for i in range(3))
    heads = torch.stack([a, b, 3 * a + 0.1 * b, 2 * b + c, c])
    assert pairs(heads) == [(0, 2), (1, 3), (4, 4)]
    assert pairs(heads[:4]) == [(0, 2), (1, 3)]
    assert pairs(torch.stack([a, c, b, -a])) == [(0, 1), (2, 3)]  # of equals the first


@way
def test_logits_are_those_of_the_definition(way: str) -> None:
    grown = twin("qwen3", way)
    router, x = router_of(grown), torch.randn(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        each = scores(router, x)
        found = router(x[None])[0][0]
    if router.mixing.combine == "mean_softmax":
        torch.testing.assert_close(found.softmax(0), each.softmax(1).mean(0), rtol=0, atol=1e-6)
        torch.testing.assert_close(found.logsumexp(0), each.logsumexp(1).mean(), rtol=0, atol=1e-6)
    else:
        torch.testing.assert_close(found, each.sum(0), rtol=0, atol=1e-10)


@way
def test_some_ways_are_linear_routers_in_disguise(way: str) -> None:
    router, generator = router_of(twin("qwen3", way)), torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 64, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        gap = (router(x + y)[0] - router(x)[0] - router(y)[0]).abs().max()
    assert (float(gap) < 1e-9) == (way.endswith(("apart", "sum")) and way != "token-sum")


@pytest.mark.parametrize("family", ["qwen3", *FUSED])
def test_queries_and_keys_are_those_of_the_heads(family: str) -> None:
    """Whatever the order in which a fused projection holds them: compared with what reaches the attention."""
    grown = twin(family, "token")
    router, site = router_of(grown), source(family).attention[0]
    x = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    query, key = _heads(grown.source, family, x)  # (heads, width)
    found = router.queries.detach().view(-1, site.qk_width, 32) @ x[0, 0]
    expected = query[[h for pair in pairs(_maps(grown.source, family)) for h in pair]]
    torch.testing.assert_close(found, expected)
    keys = router.weight.detach()[0].view(2, site.qk_width, 32) @ x[0, 0]
    first = pairs(_maps(grown.source, family))[0]
    torch.testing.assert_close(keys, key[[h * site.kv_heads // site.heads for h in first]])


@pytest.mark.parametrize("family", ["qwen3", *FUSED, "qwen3_moe"])
@pytest.mark.parametrize("way", ["calibrated", "calibrated-sum", "calibrated-apart"])
def test_calibrated_keys_are_the_mean_of_those_made_of_tokens(family: str, way: str) -> None:
    """Those of the same seed: noise on keys is the same noise. Of the mean token, since keys are linear."""
    grown, made = twin(family, way), twin(family, "token")
    routers = 2
    for layer, site in enumerate(grown.steps[0].rewrite.grown.moe):
        decided = bound_mean(grown, site.layer)
        maps = router_of(made, layer).weight.detach()
        expected = maps.unflatten(1, (-1, 32)) @ decided
        found = router_of(grown, layer).weight.detach()
        torch.testing.assert_close(found, expected.repeat(1, routers if way.endswith("apart") else 1))
        assert len({tuple(row.tolist()) for row in found}) == len(found), "no two experts tie"


def bound_mean(grown: Twin, layer: int) -> Tensor:
    """The mean token that one layer's program was bound to."""
    step = grown.steps[0].rewrite
    assert not step.deferred_vectors
    program = step.programs[f"{step.grown.moe[layer].router}.weight"]
    assert isinstance(program, Made)
    (vector,) = program.vectors
    return torch.tensor(vector, dtype=torch.float64)


def test_one_mean_token_a_layer_is_measured_for_calibrated_keys() -> None:
    calibrated = operator("router_upcycling").model_validate({"keys": "calibrated", "layers": [1]})
    step = rewrite(calibrated, source("qwen3"), seed="0", sequence_length=LENGTH)
    assert step.deferred_vectors == {Deferred("1/mean_token", 32)}
    assert measure_of(calibrated) == MeanTokens(8)
    assert measure_of(operator("router_upcycling").model_validate({})) is None


def test_heads_are_found_behind_one_projection_for_all() -> None:
    site = inspect(dict(SIZES, model_type="phi3", intermediate_size=48), LENGTH).attention[0]
    assert site.query_heads == Heads(start=0, stride=8, rows=64, transposed=False)
    assert site.key_heads == Heads(start=32, stride=8, rows=64, transposed=False)


def _heads(model: Any, family: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys of the first of the tokens, by the layout that the family's own code has; without biases."""
    site = source(family).attention[0]
    outputs = {name: _unbiased(model.get_submodule(name), x)[0, 0] for name in (*site.query, *site.key)}
    first, last = outputs[site.query[0]], outputs[site.key[0]]
    if family == "gpt_neox":
        split = first.view(site.heads, 3, site.qk_width)
        return split[:, 0], split[:, 1]
    wide = site.heads * site.qk_width
    key = last[wide:] if first is last else last
    return first[:wide].view(site.heads, -1), key[: site.kv_heads * site.qk_width].view(site.kv_heads, -1)


def _unbiased(module: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return module(x) - module(torch.zeros_like(x))


def _maps(model: Any, family: str) -> Tensor:
    """W_Q of every head, by its outputs for every feature."""
    columns = [_heads(model, family, column.view(1, 1, -1))[0] for column in torch.eye(32, dtype=torch.float64)]
    return torch.stack(columns, dim=-1)


@way
def test_mixtures_of_routers_grow_on(way: str) -> None:
    first = operator("router_upcycling").model_validate(WAYS[way] | {"experts": 4})
    replicas = {"allocation": {"rule": "explicit", "replicas": [3, 1, 2, 2]}}
    second = operator("expert_upcycling").model_validate(
        {"routing": "exclusive", "router": {"init": "copy"}, **replicas}
    )
    grown = grow_twin(source("qwen3"), [first], 0)
    # Experts that are copies of one network would hide all that a router does.
    apart = inspect(grown.steps[-1].rewrite.grown.config, LENGTH)
    proof = prove(grow_twin(apart, [second], 0), Preserves.EXACTLY)
    assert proof.holds, proof
    free = {"routing": "free", "router": {"init": "copy"}}
    for settings in (free, free | replicas):
        law = prove(grow_twin(apart, [operator("expert_upcycling").model_validate(settings)], 0), Preserves.NEARLY)
        assert law.law_gap is not None
        assert law.holds, law


@way
@pytest.mark.nightly(2)
@pytest.mark.parametrize(
    "family", ["mixtral", "qwen3_moe", "gpt_oss", "glm4_moe", "olmoe", "granitemoe", "llama4_text"]
)
def test_routers_of_mixtures_are_replaced_and_experts_stay(family: str, way: str) -> None:
    grown = twin(family, way)
    step = grown.steps[0].rewrite
    assert not list(step.operator.problems(source(family)))
    assert step.preserves is Preserves.NOT
    before, after = grown.source.state_dict(), grown.grown.state_dict()
    routers = {f"{site.router}.{name}" for site in step.source.moe for name in ("weight", "queries")}
    assert after.keys() - before.keys() == {name for name in routers if name.endswith("queries")}
    assert all(torch.equal(after[name], value) for name, value in before.items() if name not in routers)
    assert isinstance(step.operator, Drops)
    assert step.operator.drops(step.source) == {name for name in routers if name.endswith("weight")}
    assert step.grown.expert_field == step.source.expert_field
    assert [s.repetition for s in step.grown.moe] == [s.repetition for s in step.source.moe]


@pytest.mark.parametrize(
    ("family", "given", "codes"),
    [
        ("deepseek_v3", {}, ["GROW370"]),
        ("mixtral", {"experts": 4, "top_k": 1}, ["GROW372", "GROW372"]),
        ("mixtral", {"layers": [7]}, ["GROW302"]),
        ("mixtral", {"layers": [0, 0]}, ["GROW302"]),
        ("qwen3", {"layers": [1, 1]}, ["GROW351"]),
        ("qwen3", {"combine": "per_router_keys", "keys": "token"}, ["GROW373"]),
        ("qwen3", {"layers": [7]}, ["GROW351"]),
        ("qwen3", {"batches": 3}, ["GROW374"]),
        ("qwen3", {"keys": "token", "batches": 3}, ["GROW374"]),
        ("qwen3", {"noise": 0.2}, ["GROW374"]),
        ("qwen3", {"keys": "calibrated", "batches": 3, "noise": 0.2}, []),
    ],
)
def test_what_cannot_be_is_said(family: str, given: dict[str, Any], codes: list[str]) -> None:
    problems = list(operator("router_upcycling").model_validate(given).problems(source(family)))
    assert [problem.code for problem in problems] == codes


@pytest.mark.parametrize("first", ["qwen3", "mixtral"])
def test_a_mixture_of_routers_is_not_replaced(first: str) -> None:
    grown = twin(first, "mean").steps[0].rewrite.grown
    again = operator("router_upcycling").model_validate({})
    assert [problem.code for problem in again.problems(grown)] == ["GROW375"]


@way
def test_only_the_sum_over_the_same_keys_is_remarked_on(way: str) -> None:
    remarks = list(RouterUpcycling.model_validate(WAYS[way]).remarks(source("qwen3")))
    assert [remark.code for remark in remarks] == (["GROW371"] if way in ("sum", "calibrated-sum") else [])


def test_fresh_models_draw_their_routers() -> None:
    config = twin("gpt2", "mean").steps[-1].rewrite.grown.config
    graph = inspect(config, LENGTH)
    assert graph.moe == twin("gpt2", "mean").steps[-1].rewrite.grown.moe
    model = draw(graph.config, 0)
    assert all(torch.isfinite(p).all() for p in model.parameters())

"""What operators that make experts of dense networks compute, each by its definition."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.checks.loss import prove
from growc.checks.twin import LENGTH, Twin, grow_twin, tokens
from growc.model import inspect
from growc.model.drawn import logits
from growc.operators import Operator, operator
from growc.operators.claims import Preserves
from growc.operators.example import examples
from tests.families import FAMILIES, SIZES


def settled(op: str, case: str) -> Operator:
    return operator(op).model_validate(examples(op)[case].settings)


@cache
def source(family: str) -> ModelGraph:
    return inspect(FAMILIES[family], LENGTH)


@cache
def twin(op: str, family: str, case: str) -> Twin:
    return grow_twin(source(family), [settled(op, case)], 0)


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_gates_that_do_not_sum_to_one_scale_the_network_by_their_sum(family: str) -> None:
    grown = twin("sparse_upcycling", family, "softmax")
    step = grown.steps[0].rewrite
    ids, sums = tokens(grown.source, seed=1), dict[int, Tensor]()
    hooks = [
        grown.grown.get_submodule(site.router).register_forward_hook(
            lambda *call, layer=site.layer: sums.__setitem__(layer, call[-1][1].sum(dim=-1))
        )
        for site in step.grown.moe
    ]
    with torch.no_grad():
        after = logits(grown.grown, ids)
        hooks += [
            grown.source.get_submodule(site.down).register_forward_hook(
                lambda *call, layer=site.layer: call[-1] * sums[layer].view(*call[-1].shape[:-1], 1)
            )
            for site in step.source.ffn
        ]
        scaled = logits(grown.source, ids)
    for hook in hooks:
        hook.remove()
    assert all(0.1 < float(total.mean()) < 0.9 for total in sums.values())
    torch.testing.assert_close(after, scaled, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("case", "share", "together"), [("shared", 0.5, True), ("apart", 0.25, False)])
def test_drop_upcycling_draws_its_share_of_units_anew(case: str, share: float, together: bool) -> None:
    grown = twin("drop_upcycling", "qwen3", case)
    step = grown.steps[0].rewrite
    before, after = grown.source.state_dict(), grown.grown.state_dict()
    for site, ffn in zip(step.grown.moe, step.source.ffn, strict=True):
        gate_up, down = (after[name] for name in site.expert_tensors)
        was = [before[f"{name}.weight"] for name in (*ffn.up, ffn.down)]
        for expert in range(site.num_experts):
            now = (*gate_up[expert].chunk(2), down[expert].T)
            fresh = [(a != b).all(dim=1) for a, b in zip(now, (*was[:2], was[2].T), strict=True)]
            assert [int(chosen.sum()) for chosen in fresh] == [round(share * ffn.width)] * 3
            assert together == all(torch.equal(chosen, fresh[0]) for chosen in fresh)
            for a, b, chosen in zip(now, (*was[:2], was[2].T), fresh, strict=True):
                assert torch.equal(a[~chosen], b[~chosen])
                spread = a[chosen].std() / b[chosen].std()
                assert 0.7 < spread < 1.4, "what is drawn has the spread of what it replaces"


def test_virtual_groups_are_chosen_whole_and_copies_of_one_network() -> None:
    grown = twin("virtual_group_upcycling", "qwen3", "two-groups")
    ids, chosen = tokens(grown.source, seed=1), list[Tensor]()
    for site in grown.steps[0].rewrite.grown.moe:
        hook = grown.grown.get_submodule(site.router).register_forward_hook(lambda *call: chosen.append(call[-1][2]))
        with torch.no_grad():
            logits(grown.grown, ids)
        hook.remove()
    assert chosen
    for experts in chosen:
        groups = experts.sort(dim=-1).values.view(-1, 2, 2)
        assert torch.equal(groups[..., 0] // 2, groups[..., 1] // 2)
        assert bool((groups[..., 0] % 2 == 0).all() and (groups[..., 1] % 2 == 1).all())


@pytest.mark.parametrize(
    ("family", "given", "code"),
    [
        ("mixtral", {}, "GROW350"),
        ("llama", {"layers": [5]}, "GROW351"),
        ("llama", {"top_k": 9}, "GROW352"),
        ("llama", {"granularity": 7}, "GROW355"),
        ("llama", {"granularity": 32, "experts": 64, "top_k": 32}, "GROW355"),
    ],
)
def test_what_cannot_be_is_said(family: str, given: dict[str, Any], code: str) -> None:
    op = "virtual_group_upcycling" if "granularity" in given else "sparse_upcycling"
    problems = list(operator(op).model_validate(given).problems(source(family)))
    assert [problem.code for problem in problems] == [code]


@pytest.mark.parametrize(
    ("family", "why"),
    [
        (
            "phi3",
            "model.layers.0.mlp.gate_up_proj holds 2 maps in one (gate and up), before model.layers.0.mlp.down_proj",
        ),
        ("apertus", "model.layers.0.mlp.act_fn, before model.layers.0.mlp.down_proj, has parameters of its own"),
    ],
)
def test_it_is_said_why_something_is_no_dense_network(family: str, why: str) -> None:
    graph = inspect({**SIZES, "model_type": family, "intermediate_size": 48}, LENGTH)
    (problem,) = operator("sparse_upcycling").model_validate({}).problems(graph)
    assert problem.message == f"{family} has no dense feed-forward network that growc can find: {why}"


def test_mixtures_that_growc_holds_grow_on() -> None:
    """Dense to mixture to larger mixture, for a family that has no class with experts."""
    first = operator("sparse_upcycling").model_validate({"experts": 4})
    second = operator("expert_upcycling").model_validate({"routing": "exclusive", "router": {"init": "copy"}})
    grown = grow_twin(source("gpt2"), [first, second], 0)
    proof = prove(grown, Preserves.EXACTLY)
    assert proof.holds, proof
    assert [site.num_experts for site in grown.steps[-1].rewrite.grown.moe] == [8, 8]

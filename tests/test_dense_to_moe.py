"""The battery of the operators that make experts of dense networks, on dense families and every kind of setting.

The float64 twins are the families' own tiny models.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from growc.checks.loss import prove
from growc.checks.twin import LENGTH, Twin, apply, grow_twin, logits, loss, tokens
from growc.growth.evaluate import InMemory, evaluate
from growc.growth.rewrite import Rewrite, rewrite, targets
from growc.model import ModelGraph, inspect
from growc.operators import Operator, operator
from growc.operators.dense_to_moe import FromDense
from growc.operators.grown_config import loads
from growc.operators.operator import Preserves
from growc.programs import digest, shape
from tests.families import FAMILIES
from tests.operators_cases import FROM_DENSE

DENSE = ("llama", "qwen3", "gpt2", "olmo2")
CHANGED_ROUTERS = ("router_upcycling",)
"""The operators whose routers no class of transformers has; the rest of the mixture may be a stock one's."""
STOCK = {"llama": "mixtral", "qwen3": "qwen3_moe", "olmo2": "flex_olmo"}

FAST = ("qwen3", "gpt2")
"""A family whose mixtures a stock class holds, and one without."""

every = pytest.mark.parametrize(
    ("op", "family", "case"),
    [
        pytest.param(op, f, case, id=f"{op}-{f}-{case}", marks=[] if f in FAST else pytest.mark.slow)
        for op, cases in FROM_DENSE.items()
        for f in DENSE
        for case in cases
    ],
)


def settled(op: str, case: str) -> Operator:
    return operator(op).model_validate(FROM_DENSE[op][case])


@cache
def source(family: str) -> ModelGraph:
    return inspect(FAMILIES[family], LENGTH)


@cache
def planned(op: str, family: str, case: str) -> Rewrite:
    assert not list(settled(op, case).problems(source(family)))
    return rewrite(settled(op, case), source(family), seed="0", sequence_length=LENGTH)


@cache
def twin(op: str, family: str, case: str) -> Twin:
    return grow_twin(source(family), [settled(op, case)], 0)


@every
def test_every_target_tensor_has_one_program_of_the_traced_shape(op: str, family: str, case: str) -> None:
    step = planned(op, family, case)
    shapes = {name: tensor.shape for name, tensor in step.source.tensors.items()}
    traced = {name: tensor.shape for name, tensor in step.grown.tensors.items()}
    assert {name: shape(program, shapes) for name, program in step.programs.items()} == traced
    for name, moments in step.moments.items():
        for moment in (moments.first, moments.second):
            assert moment is None or shape(moment, shapes) == traced[name]


@every
def test_just_the_layers_that_are_asked_for_become_mixtures(op: str, family: str, case: str) -> None:
    step = planned(op, family, case)
    asked = step.operator
    assert isinstance(asked, FromDense)
    assert [site.layer for site in step.grown.moe] == [site.layer for site in step.sites]
    assert all(site.top_k == asked.top_k for site in step.grown.moe)
    left = {site.layer for site in step.source.ffn} - {site.layer for site in step.sites}
    assert {site.layer for site in step.grown.ffn} >= left
    assert len(step.grown.moe) == {"all": 2, "alternate": 1}.get(str(asked.layers), len(asked.layers))


@every
def test_a_stock_class_holds_them_where_there_is_one(op: str, family: str, case: str) -> None:
    step, asked = planned(op, family, case), settled(op, case)
    assert isinstance(asked, FromDense)
    plain = (
        family in STOCK
        and (asked.layers != "alternate" or family == "qwen3")
        and (asked.gates != "softmax" or family != "llama")
    )
    config = step.grown.config
    assert config.get("growc", config)["model_type"] == (STOCK[family] if plain else family)
    assert ("loads in stock transformers" in loads(config)) == (plain and op not in CHANGED_ROUTERS)


@every
def test_the_claim_holds_in_float64(op: str, family: str, case: str) -> None:
    grown = twin(op, family, case)
    proof = prove(grown, grown.steps[0].rewrite.preserves)
    assert proof.holds, proof
    if proof.claim is Preserves.EXACTLY:
        assert proof.logit_gap < 1e-9


@every
def test_the_same_seed_gives_the_same_bytes_and_rows_stand_alone(op: str, family: str, case: str) -> None:
    grown = twin(op, family, case)
    step = grown.steps[0].rewrite
    again = grow_twin(source(family), [settled(op, case)], 0).steps[0].rewrite
    assert {n: digest(p) for n, p in step.programs.items()} == {n: digest(p) for n, p in again.programs.items()}
    tensors = {name: tensor.detach() for name, tensor in grown.source.state_dict().items()}
    first, second, fetch = apply(step.programs, tensors), apply(step.programs, tensors), InMemory(tensors)
    for name, whole in first.items():
        assert torch.equal(whole, second[name])
        rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1))[: len(whole) // 2 + 1]
        assert torch.equal(whole[rows], evaluate(step.programs[name], rows, fetch, torch.float64)), name


@every
def test_experts_and_router_learn(op: str, family: str, case: str) -> None:
    grown = twin(op, family, case)
    ids = tokens(grown.source, seed=3, sequences=64, length=32)
    gradients = _gradients(grown.grown, ids)
    for site in grown.steps[0].rewrite.grown.moe:
        for name in site.expert_tensors:
            assert (gradients[name].flatten(1).abs().amax(dim=1) > 0).float().mean() >= 0.5, name


@every
def test_what_experts_learn_adds_up_to_what_the_network_would_have(op: str, family: str, case: str) -> None:
    """The gradient program gives every expert its even share; whatever the router does, the sum is the network's."""
    grown = twin(op, family, case)
    step = grown.steps[0].rewrite
    if step.preserves is not Preserves.EXACTLY:
        return
    ids = tokens(grown.source, seed=2)
    before, after = _gradients(grown.source, ids), _gradients(grown.grown, ids)
    experts = {name for site in step.grown.moe for name in site.expert_tensors}
    for name in experts:
        program = next(t for t in targets(step.operator, step.source, step.grown) if t.name == name)
        rows = torch.arange(len(after[name]))
        share = evaluate(step.operator.gradient(program), rows, InMemory(before), torch.float64).sum(0)
        torch.testing.assert_close(after[name].sum(0), share, rtol=0, atol=2e-5 * float(share.abs().max()))


def _gradients(model: torch.nn.Module, ids: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss(logits(model, ids), ids).backward()  # pyright: ignore[reportArgumentType]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


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


def test_mixtures_that_growc_holds_grow_on() -> None:
    """Dense to mixture to larger mixture, for a family that has no class with experts."""
    first = operator("sparse_upcycling").model_validate({"experts": 4})
    second = operator("expert_upcycling").model_validate({"routing": "exclusive", "router": {"init": "copy"}})
    grown = grow_twin(source("gpt2"), [first, second], 0)
    proof = prove(grown, Preserves.EXACTLY)
    assert proof.holds, proof
    assert [site.num_experts for site in grown.steps[-1].rewrite.grown.moe] == [8, 8]

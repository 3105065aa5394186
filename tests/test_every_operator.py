"""The battery: every operator, with every kind of setting, on every family that it claims.

The float64 twins are the families' own tiny models. Which of two identical siblings wins a token is arbitrary,
so where gradients are compared, siblings are summed: only the sum is determined.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from growc.checks.loss import obeys_law, predicted, prove
from growc.checks.twin import LENGTH, Twin, apply, grow_twin, logits, loss, tokens
from growc.growth.evaluate import InMemory, evaluate
from growc.growth.rewrite import Rewrite, rewrite, target
from growc.model import ModelGraph, inspect
from growc.operators import OPERATORS, Operator, operator
from growc.operators.operator import Preserves
from growc.operators.siblings import order
from growc.operators.sites import MoeSite
from growc.programs import Source, digest, lates, shape
from tests.families import FAMILIES, MOE_FAMILIES
from tests.operators_cases import BIASED_ROUTERS, CASES

SEED = 0


def _settings() -> Iterator[Any]:
    for op, cases in CASES.items():
        for family in MOE_FAMILIES:
            for case in cases:
                if "noise" not in case or family in BIASED_ROUTERS:
                    marks = [pytest.mark.slow] if "-3-" in case else []  # the factor changes no code path
                    yield pytest.param(op, family, case, id=f"{op}-{family}-{case}", marks=marks)


every = pytest.mark.parametrize(("op", "family", "case"), list(_settings()))


def source(family: str) -> ModelGraph:
    return inspect(FAMILIES[family], LENGTH)


def settled(op: str, case: str) -> Operator:
    return operator(op).model_validate(CASES[op][case])


@cache
def planned(op: str, family: str, case: str) -> Rewrite:
    return rewrite(settled(op, case), source(family), seed="0", sequence_length=LENGTH)


@cache
def twin(op: str, family: str, case: str) -> Twin:
    return grow_twin(source(family), [settled(op, case)], SEED)


def test_every_operator_of_the_table_has_cases() -> None:
    assert CASES.keys() == OPERATORS.keys()


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_noise_is_refused_where_there_is_no_bias(family: str) -> None:
    noisy = settled("expert_upcycling", "exclusive-2-noise")
    codes = {problem.code for problem in noisy.problems(source(family))}
    assert codes == (set() if family in BIASED_ROUTERS else {"GROW305"})


@every
def test_every_target_tensor_has_one_program_of_the_traced_shape(op: str, family: str, case: str) -> None:
    assert not list(settled(op, case).problems(source(family)))
    for step in (planned(op, family, case), twin(op, family, case).steps[0].rewrite):
        shapes = {name: tensor.shape for name, tensor in step.source.tensors.items()}
        traced = {name: tensor.shape for name, tensor in step.grown.tensors.items()}
        assert {name: shape(program, shapes) for name, program in step.programs.items()} == traced
        for name, moments in step.moments.items():
            for moment in (moments.first, moments.second):
                assert moment is None or shape(moment, shapes) == traced[name]


@every
def test_late_vectors_are_bound_exactly_where_utility_is_measured(op: str, family: str, case: str) -> None:
    measured = settled(op, case).measured
    assert bool(planned(op, family, case).lates) == measured == ("measured" in case)
    step = twin(op, family, case).steps[0]
    assert not step.rewrite.lates
    assert not any(lates(m.first) for m in step.rewrite.moments.values() if m.first)
    if measured:
        assert any(len(set(replicas)) > 1 for replicas in step.replicas.values())


@every
def test_the_claim_holds_in_float64(op: str, family: str, case: str) -> None:
    grown = twin(op, family, case)
    claim = grown.steps[0].rewrite.preserves
    proof = prove(grown, claim)
    assert proof.holds, proof
    assert (claim is Preserves.EXACTLY) == _exact(family, case)
    assert (proof.law_gap is not None) == (claim is Preserves.NEARLY and obeys_law(settled(op, case)))


def _exact(family: str, case: str) -> bool:
    """Noise on a logit bias (gpt-oss) moves gates; on a selection bias it only tells siblings apart."""
    return "exclusive" in case and "split" not in case and not ("noise" in case and family == "gpt_oss")


@every
def test_free_routing_computes_what_the_keff_law_predicts(op: str, family: str, case: str) -> None:
    if not obeys_law(settled(op, case)):
        return
    grown = twin(op, family, case)
    ids = tokens(grown.source, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(logits(grown.grown, ids), predicted(grown, ids), rtol=0, atol=1e-6)


@every
def test_gradients_and_so_moments_follow_the_gradient_program(op: str, family: str, case: str) -> None:
    grown = twin(op, family, case)
    step = grown.steps[0].rewrite
    if step.preserves is not Preserves.EXACTLY:
        return
    ids = tokens(grown.source, seed=2)
    before, after = _gradients(grown.source, ids), _gradients(grown.grown, ids)
    squares = InMemory({name: gradient**2 for name, gradient in before.items()})
    for name, found in after.items():
        moments, aim = step.moments[name], target(name, step.source, step.sites)
        assert moments.first is not None
        assert moments.second is not None
        rows = torch.arange(len(found))
        expected = evaluate(moments.first, rows, InMemory(before), torch.float64)
        torch.testing.assert_close(expected**2, evaluate(moments.second, rows, squares, torch.float64))
        if aim.site is None:
            assert moments.first == Source(name)
        else:
            siblings = order(grown.steps[0].replicas[aim.site.layer])
            found, expected = _summed(found, siblings), _summed(expected, siblings)
        scale = float(before[name].abs().max())
        torch.testing.assert_close(expected, before[name], rtol=0, atol=1e-12 * scale)
        torch.testing.assert_close(found, before[name], rtol=0, atol=2e-5 * scale)


def _gradients(model: torch.nn.Module, ids: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss(logits(model, ids), ids).backward()  # pyright: ignore[reportArgumentType]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _summed(rows: Tensor, siblings: tuple[int, ...]) -> Tensor:
    """Rows of one source expert added up, of shape (experts, ...)."""
    index = torch.tensor(siblings)
    return rows.new_zeros(max(siblings) + 1, *rows.shape[1:]).index_add(0, index, rows)


@every
def test_every_new_expert_learns_under_exclusive_routing(op: str, family: str, case: str) -> None:
    if "exclusive" not in case or "noise" in case:  # noise on a bias names a winner until balancing moves it
        return
    grown = twin(op, family, case)
    ids = tokens(grown.source, seed=3, sequences=64, length=32)
    gradients = _gradients(grown.grown, ids)
    for site in grown.steps[0].rewrite.sites:
        replicas = grown.steps[0].replicas[site.layer]
        busy = _loads(grown.source, site, ids) >= 16 * torch.tensor(replicas)  # enough tokens for all siblings
        for name in site.expert_tensors:
            learns = gradients[name].flatten(1).abs().amax(dim=1) > 0
            idle = [slot for slot, expert in enumerate(order(replicas)) if busy[expert] and not learns[slot]]
            assert not idle, f"experts {idle} of {name} got no gradient"
        assert busy.sum() > len(busy) / 2


def _loads(model: torch.nn.Module, site: MoeSite, ids: Tensor) -> Tensor:
    """How many tokens each expert of one layer gets, of shape (experts,)."""
    routed: list[tuple[Tensor, ...]] = []
    hook = model.get_submodule(site.router).register_forward_hook(lambda *call: routed.append(call[-1]))
    with torch.no_grad():
        logits(model, ids)  # pyright: ignore[reportArgumentType]
    hook.remove()
    chosen = [out for out in routed[0] if not out.is_floating_point()]
    if not chosen:  # dense dispatch: gates of all experts, zero where not chosen
        return (routed[0][0] > 0).view(-1, site.num_experts).sum(dim=0)
    return chosen[0].flatten().bincount(minlength=site.num_experts)


@every
def test_the_same_seed_gives_the_same_bytes_and_rows_stand_alone(op: str, family: str, case: str) -> None:
    grown = twin(op, family, case)
    step = grown.steps[0].rewrite
    again = grow_twin(source(family), [settled(op, case)], SEED) if "measured" in case else grown
    assert {n: digest(p) for n, p in step.programs.items()} == {
        n: digest(p) for n, p in again.steps[0].rewrite.programs.items()
    }
    tensors = {name: tensor.detach() for name, tensor in grown.source.state_dict().items()}
    first, second = apply(step.programs, tensors), apply(step.programs, tensors)
    fetch = InMemory(tensors)
    for name, whole in first.items():
        assert torch.equal(whole, second[name])
        rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1))[: len(whole) // 2 + 1]
        alone = evaluate(step.programs[name], rows, fetch, torch.float64)
        assert torch.equal(whole[rows], alone), name


@every
def test_another_seed_gives_other_fresh_values(op: str, family: str, case: str) -> None:
    graph = source(family)
    other = rewrite(settled(op, case), graph, seed="1", sequence_length=LENGTH)
    changed = {n for n, p in other.programs.items() if p != planned(op, family, case).programs[n]}
    fresh = {n for n, p in other.programs.items() if "Init(" in repr(p)}
    assert changed == fresh
    assert bool(fresh) == ("noise" in case or "split" in case)


@every
def test_only_the_router_costs_more(op: str, family: str, case: str) -> None:
    step = planned(op, family, case)
    before, after = step.source.cost, step.grown.cost
    factor: int = CASES[op][case].get("factor", 2)
    width: int = step.source.config["hidden_size"]
    more = sum(2 * (factor - 1) * site.num_experts * width for site in step.sites)
    assert after.router_flops_per_token - before.router_flops_per_token == pytest.approx(more)
    assert after.flops_per_token - before.flops_per_token == pytest.approx(more)
    grown = {name for site in step.sites for name in (*site.expert_tensors, *site.router_rows)}
    added = sum((factor - 1) * step.source.tensors[name].size for name in grown)
    assert after.total_params - before.total_params == added
    bound = twin(op, family, case).steps[0].rewrite.grown.cost
    assert bound.flops_per_token == pytest.approx(after.flops_per_token)


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_growing_twice_is_exact_too(family: str) -> None:
    exclusive = [settled("expert_upcycling", case) for case in ("exclusive-2-layer", "exclusive-2-uniform")]
    grown = grow_twin(source(family), exclusive, SEED)
    assert prove(grown, Preserves.EXACTLY).holds
    sites: tuple[MoeSite, ...] = grown.steps[-1].rewrite.grown.moe
    assert {site.layer: site.num_experts for site in sites} == {s.layer: 32 if s.layer == 1 else 16 for s in sites}

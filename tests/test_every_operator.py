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
from growc.operators.experts import EXPERT_INITS
from growc.operators.operator import Preserves
from growc.operators.routers import ROUTER_INITS
from growc.operators.siblings import order, turn
from growc.operators.sites import MoeSite
from growc.programs import Divide, Expr, Source, digest, lates, shape, sources
from tests.families import FAMILIES, MOE_FAMILIES
from tests.operators_cases import (
    AFTER_EXCLUSIVE,
    BEFORE,
    BIASED_ROUTERS,
    CASES,
    COMBINATIONS,
    EXCLUSIVE,
    FIXED_TOP_K,
    FROM_DENSE,
    GROUPED,
    INITIALISATIONS,
    INITIALISED,
    OTHER_UNITS,
    OWN_BATTERIES,
    SHARING,
    initialisation_of,
)

SEED = 0


def _settings() -> Iterator[Any]:
    for op, cases in CASES.items():
        for family in MOE_FAMILIES:
            for case in cases:
                if _runs(family, case):
                    marks = [pytest.mark.slow] if _is_slow(family, case) else []
                    yield pytest.param(op, family, case, id=f"{op}-{family}-{case}", marks=marks)


def _runs(family: str, case: str) -> bool:
    init = initialisation_of(case)
    if case.endswith("-scale"):
        return family not in FIXED_TOP_K
    if case.endswith("-noise") or init == "routers.bias_only":
        return family in BIASED_ROUTERS and (init is None or family in INITIALISED)
    by_units = init is not None and init.startswith("experts.") and EXPERT_INITS[init.partition(".")[2]].by_units
    return init is None or family in INITIALISED or (by_units and family in OTHER_UNITS)


def _is_slow(family: str, case: str) -> bool:
    """The factor changes no code path; and an initialisation is run in another way on every family."""
    init = initialisation_of(case)
    if init is None:
        return "-3-" in case
    number = list(INITIALISATIONS).index(init) + (*INITIALISED, *OTHER_UNITS).index(family)
    return not case.startswith("-2-".join(COMBINATIONS[number % len(COMBINATIONS)]))


every = pytest.mark.parametrize(("op", "family", "case"), list(_settings()))
copying = pytest.mark.parametrize(
    ("op", "family", "case"), [p for p in _settings() if p.values[0] == "expert_upcycling"]
)


def source(family: str, op: str = "expert_upcycling") -> ModelGraph:
    graph = inspect(FAMILIES[family], LENGTH)
    if op not in BEFORE:
        return graph
    grows = operator("expert_upcycling").model_validate(BEFORE[op])
    return rewrite(grows, graph, seed="0", sequence_length=LENGTH).grown


def settled(op: str, case: str) -> Operator:
    return operator(op).model_validate(CASES[op][case])


@cache
def planned(op: str, family: str, case: str) -> Rewrite:
    return rewrite(settled(op, case), source(family, op), seed="0", sequence_length=LENGTH)


@cache
def twin(op: str, family: str, case: str) -> Twin:
    return grow_twin(source(family, op), [settled(op, case)], SEED)


def test_every_operator_of_the_table_and_every_initialisation_has_cases() -> None:
    elsewhere = {*FROM_DENSE, *SHARING, *OWN_BATTERIES}
    assert CASES.keys() | AFTER_EXCLUSIVE.keys() | elsewhere == OPERATORS.keys()
    tables = {"experts": EXPERT_INITS, "routers": ROUTER_INITS}
    assert list(INITIALISATIONS) == [f"{kind}.{name}" for kind, table in tables.items() for name in table]
    fast = {p.values[2] for p in _settings() if not p.marks and p.values[0] == "expert_upcycling"}
    for name in INITIALISATIONS:
        ways = [case.split("-") for case in fast if initialisation_of(case) == name]
        routings, _, allocations, _ = zip(*ways, strict=True)
        assert {*routings} == {"exclusive", "free"}
        assert {*allocations} == {"uniform", "explicit", "measured"} or name == "routers.bias_only"


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_noise_is_refused_where_there_is_no_bias(family: str) -> None:
    noisy = settled("expert_upcycling", "exclusive-2-noise")
    codes = {problem.code for problem in noisy.problems(source(family))}
    assert codes == (set() if family in BIASED_ROUTERS else {"GROW305"})


@every
def test_every_target_tensor_has_one_program_of_the_traced_shape(op: str, family: str, case: str) -> None:
    assert not list(settled(op, case).problems(source(family, op)))
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
    if measured and op != "expert_slimming":
        assert any(len(set(replicas)) > 1 for replicas in step.replicas.values())


@every
def test_the_claim_holds_in_float64(op: str, family: str, case: str) -> None:
    grown = twin(op, family, case)
    claim = grown.steps[0].rewrite.preserves
    proof = prove(grown, claim)
    assert proof.holds, proof
    assert (claim is Preserves.EXACTLY) == _exact(family, case)
    assert (proof.law_gap is not None) == (claim is Preserves.NEARLY and obeys_law(settled(op, case)))
    if claim is not Preserves.EXACTLY and "exclusive" in case:
        moved = next((gap for seed in range(20) if (gap := _moved(grown, seed)) > 1e-8), None)
        assert moved is not None, "what moves nothing should claim to be exact"
        assert claim is Preserves.NOT or moved < 0.5


def _exact(family: str, case: str) -> bool:
    """Noise on a logit bias (gpt-oss) moves gates; on a selection bias it only tells siblings apart."""
    if case.endswith("-scale"):
        return family not in GROUPED
    if "exclusive" not in case or case.endswith("-split"):
        return False
    if case.endswith("-noise"):
        return family != "gpt_oss"
    return initialisation_of(case) in {None, "experts.copy", "experts.shuffle", "routers.copy", "routers.bias_only"}


def _moved(grown: Twin, seed: int) -> float:
    """How far logits move, in units of their own size."""
    ids = tokens(grown.source, seed, sequences=64, length=32)
    with torch.no_grad():
        before, after = logits(grown.source, ids), logits(grown.grown, ids)
    return float((after - before).norm() / before.norm())


@copying
def test_originals_are_kept_bit_for_bit(op: str, family: str, case: str) -> None:
    grown = twin(op, family, case)
    before, after = grown.source.state_dict(), grown.grown.state_dict()
    for site in grown.steps[0].rewrite.mixtures:
        first = [slot for slot, c in enumerate(turn(grown.steps[0].replicas[site.layer])) if c == 0]
        bias = [site.selection_bias] if site.selection_bias else []
        for name in (*site.expert_tensors, *site.router_rows, *bias):
            if "split" in case and name in site.router_rows:  # the mean of siblings is the source there, not the first
                continue
            if case.endswith("-scale") and isinstance(grown.steps[0].rewrite.programs[name], Divide):
                continue  # it is divided for all siblings alike
            assert torch.equal(after[name][first], before[name]), name


@copying
def test_free_routing_computes_what_the_keff_law_predicts(op: str, family: str, case: str) -> None:
    if not obeys_law(settled(op, case)):
        return
    grown = twin(op, family, case)
    ids = tokens(grown.source, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(logits(grown.grown, ids), predicted(grown, ids), rtol=0, atol=1e-9)


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
        moments, aim = step.moments[name], target(name, step.source, step.mixtures)
        assert moments.first is not None
        assert moments.second is not None
        rows = torch.arange(len(found))
        expected = evaluate(moments.first, rows, InMemory(before), torch.float64)
        torch.testing.assert_close(expected**2, evaluate(moments.second, rows, squares, torch.float64))
        if aim.site is None:
            assert moments.first == Source(name)
        elif case.endswith("-scale"):  # all siblings are chosen alike
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * float(before[name].abs().max()))
            continue
        else:
            found, expected = (_summed(x, step.programs[name], before[name]) for x in (found, expected))
        scale = float(before[name].abs().max())
        torch.testing.assert_close(expected, before[name], rtol=0, atol=1e-12 * scale)
        torch.testing.assert_close(found, before[name], rtol=0, atol=2e-5 * scale)


def _gradients(model: torch.nn.Module, ids: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss(logits(model, ids), ids).backward()  # pyright: ignore[reportArgumentType]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _summed(values: Tensor, program: Expr, source: Tensor) -> Tensor:
    """What all copies of every element of the source add up to: `program` says where elements come from."""
    numbered = InMemory(dict.fromkeys(sources(program), torch.arange(source.numel()).double().view_as(source)))
    came_from = evaluate(program, torch.arange(len(values)), numbered, torch.float64).long()
    return (
        torch.zeros(source.numel(), dtype=values.dtype)
        .index_add(0, came_from.flatten(), values.flatten())
        .view_as(source)
    )


def _exclusive() -> Iterator[Any]:
    """Where routing is exclusive and nothing differs between siblings that names a winner until training moves it."""
    for op, family, case in (p.values for p in _settings() if p.values[0] == "expert_upcycling"):
        init = initialisation_of(case) or ""
        told_apart = init.startswith("routers.") and init not in ("routers.copy", "routers.split")
        if "exclusive" in case and not case.endswith("-noise") and not told_apart:
            marks = (
                [] if family in ("mixtral", "deepseek_v3_groups") and not _is_slow(family, case) else pytest.mark.slow
            )
            yield pytest.param(op, family, case, id=f"{op}-{family}-{case}", marks=marks)


@pytest.mark.parametrize(("op", "family", "case"), list(_exclusive()))
def test_every_new_expert_learns_under_exclusive_routing(op: str, family: str, case: str) -> None:
    grown = twin(op, family, case)
    ids = tokens(grown.source, seed=3, sequences=64, length=32)
    gradients = _gradients(grown.grown, ids)
    for site in grown.steps[0].rewrite.mixtures:
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
    again = grow_twin(source(family, op), [settled(op, case)], SEED) if "measured" in case else grown
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
    graph = source(family, op)
    other = rewrite(settled(op, case), graph, seed="1", sequence_length=LENGTH)
    changed = {n for n, p in other.programs.items() if p != planned(op, family, case).programs[n]}
    fresh = {n for n, p in other.programs.items() if "seed='1/" in repr(p)}
    assert changed == fresh
    init = initialisation_of(case)
    assert bool(fresh) == (init in DRAW if init else case.endswith(("-noise", "-split")))


DRAW = {
    *(f"experts.{name}" for name in ("copy_noise", "shuffle", "drop", "orthogonal", "svd_perturb", "sparse_code_mix")),
    *(
        f"routers.{name}"
        for name in ("copy_noise", "bias_only", "perturb_new_only", "orthogonal", "svd_perturb", "split")
    ),
    "experts.random",
}
"""The initialisations in which something is random."""


@copying
def test_only_the_router_costs_more_unless_top_k_grows(op: str, family: str, case: str) -> None:
    step = planned(op, family, case)
    before, after = step.source.cost, step.grown.cost
    factor: int = CASES[op][case].get("factor", 2)
    width: int = step.source.config["hidden_size"]
    more = sum(2 * (factor - 1) * site.num_experts * width for site in step.mixtures)
    assert after.router_flops_per_token - before.router_flops_per_token == pytest.approx(more)
    paid = (factor - 1) * before.parts["experts"] if case.endswith("-scale") else 0
    assert after.flops_per_token - before.flops_per_token == pytest.approx(more + paid)
    grown = {name for site in step.mixtures for name in (*site.expert_tensors, *site.router_rows)}
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


@pytest.mark.parametrize("family", MOE_FAMILIES)
@pytest.mark.parametrize(("op", "case"), [(op, case) for op, cases in AFTER_EXCLUSIVE.items() for case in cases])
def test_operators_for_grown_models_keep_their_claims_too(op: str, case: str, family: str) -> None:
    after = operator(op).model_validate(AFTER_EXCLUSIVE[op][case])
    assert list(after.problems(source(family))), "there is nothing to undo in a model that has not grown"
    grown = grow_twin(source(family), [operator("expert_upcycling").model_validate(EXCLUSIVE), after], SEED)
    step = grown.steps[-1].rewrite
    assert not list(after.problems(step.source))
    shapes = {name: tensor.shape for name, tensor in step.source.tensors.items()}
    traced = {name: tensor.shape for name, tensor in step.grown.tensors.items()}
    assert {name: shape(program, shapes) for name, program in step.programs.items()} == traced
    assert prove(grown, step.preserves).holds

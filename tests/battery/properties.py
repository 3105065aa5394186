"""What every operator must hold to. A property says of which cases it speaks; it never returns before it asserts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from growc.anatomy.grown_format import loads
from growc.anatomy.matches import Added, Expert, Kept, Match, NewExpert, NewRouter, OfMixture, RouterRows
from growc.anatomy.replicas import order, turn
from growc.checks.loss import obeys_law, predicted, prove
from growc.checks.twin import LENGTH, Twin, apply, grow_drawn, grow_twin, tokens, twin_of
from growc.growth.rewrite import other_of
from growc.model import inspect
from growc.model.drawn import draw, logits
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators.branches import BranchExperts
from growc.operators.claims import Preserves
from growc.operators.dense_to_moe import FromDense
from growc.operators.expert_upcycling import ExpertUpcycling
from growc.operators.facets import Closes, Drops, measure_of
from growc.programs import Divide, Source, deferred_vectors, digest, shape, sources
from tests.battery.case import SEED, Case
from tests.battery.gradients import gradients, learning_rows, loads_of, summed_over_copies

FRESH = {
    *(f"experts.{name}" for name in ("copy_noise", "shuffle", "drop", "orthogonal", "svd_perturb", "sparse_code_mix")),
    *(f"router.{name}" for name in ("copy_noise", "bias_only", "perturb_new_only", "orthogonal", "svd_perturb")),
    "experts.random",
    "router.split",
    "bias noise",
}
"""The starts of copies in which something is drawn."""


QUIET = {
    *("expert_pruning", "expert_slimming", "merge_duplicates", "release_siblings", "model_soup", "nexus_extension"),
    *("deepen", "stack", "widen", "hypercloning"),
}
"""The operators that make no tensor anew, but for layers that start closed and noise on copies."""


STOCK = {"llama": "mixtral", "qwen3": "qwen3_moe", "olmo2": "flex_olmo"}
"""Dense family -> the class of transformers that is the same with experts."""


@dataclass(frozen=True)
class Property:
    """A statement about the cases that it applies to; `check` raises AssertionError where it is wrong."""

    name: str
    applies: Callable[[Case], bool]
    check: Callable[[Case, Path], None]


def of(applies: Callable[[Case], bool]) -> Callable[[Callable[[Case, Path], None]], Callable[[Case, Path], None]]:
    """Put a check into the list of properties."""

    def listed(check: Callable[[Case, Path], None]) -> Callable[[Case, Path], None]:
        PROPERTIES.append(Property(check.__name__, applies, check))
        return check

    return listed


PROPERTIES: list[Property] = []


def every(case: Case) -> bool:
    """All cases."""
    return True


def copies(case: Case) -> bool:
    """Those that make copies of experts."""
    return case.op == "expert_upcycling"


def makes_mixtures(case: Case) -> bool:
    """Those that make experts of a dense model's networks."""
    return isinstance(case.operator, FromDense) and case.example.source == "dense"


def exact(case: Case) -> bool:
    """Those that should claim to compute what their source does."""
    return case.claim is Preserves.EXACTLY


@of(every)
def every_tensor_has_one_program_of_the_traced_shape(case: Case, _: Path) -> None:
    """And what is read are the tensors of all states but those that are said to be dropped."""
    assert not case.problems()
    for step in (case.planned, case.step.rewrite):
        shapes = {name: tensor.shape for name, tensor in step.read.items()}
        traced = {name: tensor.shape for name, tensor in step.grown.tensors.items()}
        assert {name: shape(program, shapes) for name, program in step.programs.items()} == traced
        for name, moments in step.moments.items():
            assert all(m is None or shape(m, shapes) == traced[name] for m in (moments.first, moments.second)), name
        read = frozenset[str]().union(*map(sources, step.programs.values()))
        dropped = step.operator.drops(step.source) if isinstance(step.operator, Drops) else frozenset[str]()
        assert step.read.keys() - read == dropped
        assert step.grown.unreached == step.source.unreached


@of(every)
def late_vectors_are_bound_exactly_where_something_is_measured(case: Case, _: Path) -> None:
    settings, op = case.settings, case.op
    measured = op in {"symphony", "nexus", "nexus_extension", "expert_slimming"}
    measured |= op == "expert_pruning" and settings.get("choose", {}).get("by") != "explicit"
    measured |= settings.get("allocation", {}).get("rule") in ("greedy", "proportional")
    measured |= settings.get("keys") == "calibrated"
    assert bool(case.planned.deferred_vectors) == (measure_of(case.operator) is not None) == measured
    assert not case.step.rewrite.deferred_vectors
    for moments in case.step.rewrite.moments.values():
        assert not any(deferred_vectors(program) for program in (moments.first, moments.second) if program)


@of(lambda case: case.settings.get("allocation", {}).get("rule") in ("greedy", "proportional"))
def measured_experts_get_unequal_replicas(case: Case, _: Path) -> None:
    assert any(len(set(replicas)) > 1 for replicas in case.step.replicas.values())


@of(every)
def the_claim_is_the_expected_one_and_holds_in_float64(case: Case, _: Path) -> None:
    claim = case.step.rewrite.preserves
    proof = prove(case.twin, claim)
    assert claim is case.claim, claim
    assert proof.holds, proof
    assert (proof.law_gap is not None) == (claim is Preserves.NEARLY and obeys_law(case.operator))


def _moves(case: Case) -> bool:
    """Nearer the mean no copy of a top-1 wins: the row that wins lies above the mean."""
    never = case.axes.get("start") == "router.adversarial" and case.family == "llama4_text"
    return copies(case) and not exact(case) and case.settings.get("routing") == "exclusive" and not never


@of(_moves)
def what_is_not_claimed_to_be_exact_moves_something(case: Case, _: Path) -> None:
    gaps = (_moved(case.twin, seed) for seed in range(20))
    moved = next((gap for gap in gaps if gap > 1e-8), None)
    assert moved is not None, "what moves nothing should claim to be exact"
    assert case.claim is Preserves.NOT or moved < 0.5


def _moved(twin: Twin, seed: int) -> float:
    """How far logits move, in units of their own size."""
    ids = tokens(twin.source, seed, sequences=64, length=32)
    with torch.no_grad():
        before, after = logits(twin.source, ids), logits(twin.grown, ids)
    return float((after - before).norm() / before.norm())


@of(copies)
def originals_are_kept_bit_for_bit(case: Case, _: Path) -> None:
    """But for rows whose siblings' mean is the source's, and for what is divided by the number of all siblings."""
    before, after = case.twin.source.state_dict(), case.twin.grown.state_dict()
    split = case.settings.get("router", {"init": "split"})["init"] == "split"
    compared = 0
    for site in case.step.rewrite.mixtures:
        first = [slot for slot, c in enumerate(turn(case.step.replicas[site.layer])) if c == 0]
        bias = [site.selection_bias] if site.selection_bias else []
        rows = [] if split else site.router_rows
        for name in (*site.expert_tensors, *rows, *bias):
            scaled = case.settings.get("top_k") == "scale" and isinstance(case.step.rewrite.programs[name], Divide)
            if not scaled:
                compared += 1
                assert torch.equal(after[name][first], before[name]), name
    assert compared


@of(lambda case: obeys_law(case.operator))
def free_routing_computes_what_the_keff_law_predicts(case: Case, _: Path) -> None:
    ids = tokens(case.twin.source, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(logits(case.twin.grown, ids), predicted(case.twin, ids), rtol=0, atol=1e-9)


@of(lambda case: copies(case) and exact(case))
def gradients_and_so_moments_of_copies_follow_the_gradient_program(case: Case, _: Path) -> None:
    """Summed over siblings, since which of them wins a token is arbitrary."""
    step, ids = case.step.rewrite, tokens(case.twin.source, seed=2)
    before, after = gradients(case.twin.source, ids), gradients(case.twin.grown, ids)
    squares = InMemory({name: gradient**2 for name, gradient in before.items()})
    matches = step.matches
    for name, found in after.items():
        moments, match = step.moments[name], matches[name]
        assert moments.first is not None
        assert moments.second is not None
        rows = torch.arange(len(found))
        expected = evaluate(moments.first, rows, InMemory(before), torch.float64)
        torch.testing.assert_close(expected**2, evaluate(moments.second, rows, squares, torch.float64))
        scale = float(before[name].abs().max())
        if not isinstance(match, OfMixture):
            assert moments.first == Source(name)
        elif case.settings.get("top_k") == "scale":  # all siblings are chosen alike
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * scale)
            continue
        else:
            found, expected = (summed_over_copies(x, step.programs[name], before[name]) for x in (found, expected))
        torch.testing.assert_close(expected, before[name], rtol=0, atol=1e-12 * scale)
        torch.testing.assert_close(found, before[name], rtol=0, atol=2e-5 * scale)


@of(lambda case: makes_mixtures(case) and case.op != "ders" and exact(case))
def what_experts_learn_adds_up_to_what_the_network_would_have(case: Case, _: Path) -> None:
    """The gradient program gives every expert its share; whatever the router does, the sum is the network's."""
    step, ids = case.step.rewrite, tokens(case.twin.source, seed=2)
    before, after = gradients(case.twin.source, ids), gradients(case.twin.grown, ids)
    experts = {name for site in step.grown.moe for name in site.expert_tensors}
    aims = step.matches
    for name in (name for name in after if name in before and isinstance(aims[name], Kept)):
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=2e-5 * float(before[name].abs().max()))
    for name in experts & after.keys():
        rows = torch.arange(len(after[name]))
        program = step.operator.gradient(aims[name])
        expected = evaluate(program, rows, InMemory(before), torch.float64).sum(0)
        torch.testing.assert_close(after[name].sum(0), expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def _exclusive_and_alike(case: Case) -> bool:
    """Where routing is exclusive, and nothing that differs between siblings names a winner until training moves it."""
    start = case.axes.get("start", "")
    named = start == "bias noise" or (start.startswith("router.") and start not in ("router.copy", "router.split"))
    return copies(case) and case.settings.get("routing") == "exclusive" and not named


def _without_favourites(case: Case) -> Twin:
    """The twin with selection biases that leave every expert some tokens: what gets none cannot learn."""
    models = (case.source, *(other_of(case.operator, case.source) for _ in range(1, case.example.parents)))
    before = tuple(draw(model.config, SEED, parent) for parent, model in enumerate(models))
    for model, drawn in zip(models, before, strict=True):
        for name in model.expert_vectors:
            drawn.state_dict()[name].mul_(0.2)
    return grow_drawn(before, case.source, [case.operator], SEED)


@of(_exclusive_and_alike)
def every_new_expert_learns_under_exclusive_routing(case: Case, _: Path) -> None:
    twin = _without_favourites(case)
    ids = tokens(twin.source, seed=3, sequences=64, length=32)
    found = gradients(twin.grown, ids)
    for site in twin.steps[0].rewrite.mixtures:
        replicas = twin.steps[0].replicas[site.layer]
        busy = loads_of(twin.source, site, ids) >= 16 * torch.tensor(replicas)  # enough tokens for all siblings
        for name in site.expert_tensors:
            learns = learning_rows(found[name])
            idle = [slot for slot, expert in enumerate(order(replicas)) if busy[expert] and not learns[slot]]
            assert not idle, f"experts {idle} of {name} got no gradient"
        assert busy.sum() > len(busy) / 2


@of(lambda case: not copies(case))
def what_is_new_learns_or_is_declared_closed_and_opens_with_the_first_step(case: Case, _: Path) -> None:
    """Every parameter of the grown model gets a gradient, closed ones with the second step."""
    model = _without_favourites(case).grown
    step = case.step.rewrite
    aims = step.matches
    closed = {name for name, aim in aims.items() if isinstance(case.operator, Closes) and case.operator.closed(aim)}
    low_rank = case.settings.get("deltas", {}).get("form") == "low_rank"
    assert bool(closed) == (case.op == "grove" or low_rank or case.settings.get("start") == "closed")
    ids = tokens(model, seed=3, sequences=64, length=32)
    first = gradients(model, ids)
    for name, found in first.items():
        share = float(learning_rows(found).float().mean())
        assert share == 0 if name in closed else share > 0, name
        assert name in closed or share >= _share(case, aims[name]), name
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter -= 0.1 * first[name]
    after = gradients(model, ids)
    assert all(after[name].any() for name in after)


def _share(case: Case, match: Match) -> float:
    """How many rows of a new tensor learn from 2,048 tokens at least: all of few branches, half of many experts."""
    if not isinstance(match, Expert | RouterRows | NewExpert | NewRouter | Added):
        return 0.0
    return 1.0 if isinstance(case.operator, BranchExperts) else 0.5


@of(every)
def the_same_seed_gives_the_same_bytes_and_rows_stand_alone(case: Case, _: Path) -> None:
    step, again = case.planned, case.rewritten()
    assert {n: digest(p) for n, p in step.programs.items()} == {n: digest(p) for n, p in again.programs.items()}
    bound, tensors = case.step.rewrite.programs, case.twin.tensors()
    grown, fetch = case.twin.grown.state_dict(), InMemory(tensors)
    for name, whole in apply(bound, tensors).items():
        assert torch.equal(whole.to(grown[name].dtype), grown[name]), name  # some families hold biases in float32
        rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1))[: len(whole) // 2 + 1]
        assert torch.equal(whole[rows], evaluate(bound[name], rows, fetch, torch.float64)), name


@of(lambda case: measure_of(case.operator) is not None)
def what_is_measured_alike_gives_the_same_bytes(case: Case, _: Path) -> None:
    again = grow_twin(case.source, [case.operator], SEED, case.example.parents).grown.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in case.twin.grown.state_dict().items())


@of(every)
def another_seed_changes_what_is_drawn_and_nothing_else(case: Case, _: Path) -> None:
    other = case.rewritten("1")
    changed = {name for name, program in other.programs.items() if program != case.planned.programs[name]}
    fresh = {name for name, program in other.programs.items() if "seed='1/" in repr(program)}
    assert changed == fresh
    if copies(case):
        router = case.settings.get("router", {"init": "split"})
        drawn = router.get("bias_noise") or router["init"] == "split"
        assert bool(fresh) == bool(drawn or case.axes.get("start") in FRESH)
    else:
        assert bool(fresh) == (
            case.op not in QUIET or case.settings.get("start") == "closed" or "noise" in case.settings
        )


@of(copies)
def only_the_router_costs_more_unless_top_k_grows(case: Case, _: Path) -> None:
    step = case.planned
    before, after = step.source.cost, step.grown.cost
    assert isinstance(case.operator, ExpertUpcycling)
    factor, width = case.operator.factor, step.source.config["hidden_size"]
    more = sum(2 * (factor - 1) * site.num_experts * width for site in step.mixtures)
    paid = (factor - 1) * before.parts["experts"] if case.operator.top_k == "scale" else 0
    names = {name for site in step.mixtures for name in (*site.expert_tensors, *site.router_rows)}
    added = sum((factor - 1) * step.source.tensors[name].size for name in names)
    assert abs(after.router_flops_per_token - before.router_flops_per_token - more) < 1e-3
    assert abs(after.flops_per_token - before.flops_per_token - more - paid) < 1e-3
    assert after.total_params - before.total_params == added
    assert abs(case.step.rewrite.grown.cost.flops_per_token - after.flops_per_token) < 1e-3


@of(makes_mixtures)
def just_the_layers_that_are_asked_for_become_mixtures(case: Case, _: Path) -> None:
    step, asked = case.planned, case.operator
    assert isinstance(asked, FromDense)
    assert [site.layer for site in step.grown.moe] == [site.layer for site in step.sites]
    assert all(site.top_k == asked.top_k for site in step.grown.moe)
    left = {site.layer for site in step.source.ffn} - {site.layer for site in step.sites}
    assert {site.layer for site in step.grown.ffn} >= left
    assert len(step.grown.moe) == {"all": 2, "alternate": 1}.get(str(asked.layers), len(asked.layers))


@of(makes_mixtures)
def a_stock_class_holds_mixtures_where_there_is_one(case: Case, _: Path) -> None:
    """Every second layer: qwen3_moe alone can say which; gates that do not sum to one: not mixtral's."""
    config, asked = case.planned.grown.config, case.operator
    assert isinstance(asked, FromDense)
    holds = case.family in STOCK and case.op not in ("ders", "nexus")
    holds &= asked.layers != "alternate" or case.family == "qwen3"
    holds &= asked.gates != "softmax" or case.family != "llama"
    assert config.get("growc", config)["model_type"] == (STOCK[case.family] if holds else case.family)
    own = case.op in ("router_upcycling", "bam")  # the routers, or the attention, are growc's all the same
    assert ("loads in stock transformers" in loads(config)) == (holds and not own)


@of(lambda case: case.op in ("grove", "ders"))
def all_that_the_source_has_stays_as_it_is_with_its_state(case: Case, _: Path) -> None:
    step = case.step.rewrite
    keeps = case.op == "grove" or case.settings.get("optimizer_state") == "reset_new"
    for name in step.source.tensors:
        assert step.programs[name] == Source(name)
        assert step.moments[name].keep_step == keeps
        assert (step.moments[name].first == Source(name)) == keeps
    for name in step.grown.tensors.keys() - step.source.tensors.keys():
        assert step.moments[name].first is None
        assert not step.moments[name].keep_step


@of(lambda case: isinstance(case.operator, BranchExperts) and case.op != "nexus")
def branches_that_are_the_same_are_computed_exactly(case: Case, _: Path) -> None:
    """Not what the operator claims, since branches differ; but then nothing is lost, whatever the router does."""
    assert isinstance(case.operator, BranchExperts)
    states = (case.twin.source,) * case.example.parents
    proof = prove(grow_drawn(states, case.source, [case.operator], SEED), Preserves.EXACTLY)
    assert proof.holds == (case.operator.gates == "renormalised"), proof


@of(every)
def a_folder_loads_and_gives_the_same_logits(case: Case, folder: Path) -> None:
    """With every tensor that was saved, in the kinds of layers that were traced."""
    model = copy.deepcopy(case.twin.grown)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # what is zero could be lost unseen
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    model.save_pretrained(folder)
    how: dict[str, Any] = {"attn_implementation": "eager", "experts_implementation": "eager"}
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, output_loading_info=True, **how)
    again, report = loaded
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = tokens(model, seed=1)
    with torch.no_grad():
        # Loaded tensors may lie otherwise in memory, and sums be taken in another order.
        torch.testing.assert_close(logits(again.double().eval(), ids), logits(model, ids), rtol=0, atol=1e-12)
    assert inspect(again.config.to_dict(), LENGTH).tensors == case.step.rewrite.grown.tensors


@of(lambda case: not case.axes)
def the_twin_of_a_plan_is_small_and_bears_the_claim_out(case: Case, _: Path) -> None:
    small = twin_of([case.planned], seed=1)
    assert prove(small, case.claim).holds
    assert _numbers(small) <= _numbers(case.twin)


def _numbers(twin: Twin) -> int:
    return sum(p.numel() for p in twin.grown.parameters())

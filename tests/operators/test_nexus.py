"""Nexus: the seed's networks are shared, branches are experts, and rows of routers are projections of domains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from growc.anatomy.grown_format import loads
from growc.anatomy.model_graph import ModelGraph
from growc.checks.loss import prove
from growc.checks.twin import LENGTH, Twin, grow_drawn, grow_twin, tokens
from growc.growth.decision import Decision
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import inspect
from growc.model.drawn import draw, logits
from growc.nn.domain_router import DomainRouter
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators import operator
from growc.operators.ancestry import Ancestry
from growc.operators.claims import Preserves
from growc.operators.example import examples
from growc.operators.means import domain
from growc.operators.nexus import Nexus
from growc.programs import Deferred, Init, Made, Mean, Source, describe, of_parent
from tests.families import FAMILIES

pytestmark = pytest.mark.share(4)

PARENTS, BRANCHES = 4, 3
FAMILY = pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "olmo2"])
CASE = pytest.mark.parametrize("case", examples("nexus"))
PARTS = ("seed", "math", "code", "wiki")


def pasts_of(parts: Sequence[str | None]) -> list[Ancestry]:
    return [Ancestry(f"state {number}", part) for number, part in enumerate(parts)]


def settled(case: str) -> Nexus:
    return Nexus.model_validate(examples("nexus")[case].settings)


@cache
def source(family: str) -> ModelGraph:
    return inspect(FAMILIES[family], LENGTH)


@cache
def planned(family: str, case: str) -> Rewrite:
    mixing = settled(case).mixing(PARENTS)
    assert not [
        *mixing.problems(source(family)),
        *mixing.problems_together([source(family)] * PARENTS, pasts_of(PARTS)),
    ]
    return rewrite(settled(case), source(family), seed="0", sequence_length=LENGTH, parents=PARENTS)


@cache
def twin(family: str, case: str) -> Twin:
    return grow_twin(source(family), [settled(case)], 0, PARENTS)


def shared(step: Rewrite) -> dict[str, str]:
    """The tensors of shared experts, and what they are called in the seed."""
    return {name: name.replace(".shared_expert", "") for name in step.grown.tensors if ".shared_expert." in name}


@FAMILY
@CASE
def test_what_is_made_how(family: str, case: str) -> None:
    step = planned(family, case)
    assert step.deferred_vectors == {Deferred(domain(parent), 32) for parent in range(1, PARENTS)}
    assert "needs `import growc` to load" in loads(step.grown.config)
    for site in step.grown.moe:
        assert (site.num_experts, site.top_k) == (BRANCHES, examples("nexus")[case].settings.get("top_k", 1))
    routers = {name for site in step.grown.moe for name in site.router_rows}
    experts = {name for site in step.grown.moe for name in site.expert_tensors}
    projections = {f"{site.router}.{name}" for site in step.grown.moe for name in ("gate_up", "down")}
    for name, program in step.programs.items():
        if name in routers:
            assert isinstance(program, Made)
            assert describe(program) == "stacked(3 measured vectors)"
            assert step.grown.tensors[name].kind == "buffer"
        elif name in projections:
            assert isinstance(program, Init), name
            assert program.distribution == "normal"
        elif name in shared(step):
            assert program == Source(shared(step)[name])
        elif name not in experts:
            assert isinstance(program, Mean), name
    assert len(shared(step)) == len(shared(planned(family, "plain"))) // (2 if case == "alternate" else 1) > 0


@FAMILY
@CASE
def test_experts_are_those_that_branch_train_mix_makes_of_the_branches(family: str, case: str) -> None:
    grown, step = twin(family, case), twin(family, case).steps[0].rewrite
    settings = {key: value for key, value in examples("nexus")[case].settings.items() if key == "layers"}
    mixing = operator("branch_train_mix").model_validate({"top_k": 1, **settings})
    mixed = rewrite(mixing, source(family), seed="0", sequence_length=LENGTH, parents=BRANCHES)
    branches = {of_parent(i, name): value for i, m in enumerate(grown.others) for name, value in m.state_dict().items()}
    state = grown.grown.state_dict()
    stacks = zip(mixed.grown.moe, step.grown.moe, strict=True)
    for theirs, ours in ((t, o) for a, b in stacks for t, o in zip(a.expert_tensors, b.expert_tensors, strict=True)):
        rows = torch.arange(BRANCHES)
        expected = evaluate(mixed.programs[theirs], rows, InMemory(branches), torch.float64)
        assert torch.equal(state[ours], expected), ours


@FAMILY
@CASE
def test_a_layer_computes_the_definition(family: str, case: str) -> None:
    """S(x) + sum over the top-K of softmax(x . P(d_i)) E_i(x), with all networks run one by one."""
    grown = twin(family, case)
    step = grown.steps[0].rewrite
    site = step.grown.moe[0]
    before = next(ffn for ffn in step.source.ffn if ffn.layer == site.layer)
    block = grown.grown.get_submodule(site.block)
    x = torch.randn(7, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = grown.grown.state_dict()
    domains, gate_up, down = (state[f"{site.router}.{name}"] for name in ("weight", "gate_up", "down"))
    rows = [down @ (F.silu(g) * u) for g, u in ((gate_up @ d).chunk(2) for d in domains)]
    with torch.no_grad():
        scores = torch.stack([x @ row for row in rows], dim=1).softmax(dim=1)
        gates, chosen = scores.topk(site.top_k)
        if examples("nexus")[case].settings.get("gates") == "renormalised":
            gates = gates / gates.sum(dim=1, keepdim=True)
        network, *networks = (model.get_submodule(before.block) for model in (grown.source, *grown.others))
        expected = network(x[None])[0]
        each = [branch(x[None])[0] for branch in networks]
        for token in range(len(x)):
            for gate, expert in zip(gates[token], chosen[token], strict=True):
                expected[token] += gate * each[int(expert)][token]
        torch.testing.assert_close(block(x[None])[0], expected, rtol=0, atol=1e-6)


@FAMILY
def test_a_token_costs_a_shared_expert_more_than_a_routed_one(family: str) -> None:
    step = planned(family, "plain")
    before, after = step.source.cost, step.grown.cost
    assert after.parts["experts"] == after.parts["shared"] == before.parts["dense_ffn"]
    assert after.parts["router"] == 2 * 2 * BRANCHES * 32, "what is projected once for a batch is no cost of a token"
    two = planned(family, "top-2").grown.cost
    assert two.parts["experts"] == 2 * before.parts["dense_ffn"]


@FAMILY
def test_experts_of_growcs_own_modules_divide_among_ranks(family: str) -> None:
    grown = twin(family, "plain")
    site = grown.steps[0].rewrite.grown.moe[0]
    stacks = {name.replace(".0.", ".*."): "grouped_gemm" for name in site.expert_tensors}
    assert grown.grown.ep_plan == {**stacks, site.experts.replace(".0.", ".*."): "ep_dispatch_experts"}


@pytest.mark.parametrize("state", ["reset", "reset_new", "gradient"])
def test_moments_of_the_shared_expert_are_the_seeds(state: str) -> None:
    mixing = operator("nexus").model_validate({"optimizer_state": state})
    step = rewrite(mixing, source("qwen3"), seed="0", sequence_length=LENGTH, parents=PARENTS)
    experts = {name for site in step.grown.moe for name in site.expert_tensors}
    routers = {name for site in step.grown.moe for name in step.grown.tensors if name.startswith(f"{site.router}.")}
    kept = {name for name, moments in step.moments.items() if moments.keep_step}
    left = step.grown.tensors.keys() - routers - experts
    assert kept == {"reset": set[str](), "reset_new": left}.get(state, left | experts)
    for name, of_seed in shared(step).items():
        assert step.moments[name].first == (None if state == "reset" else Source(of_seed))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_folders_load_again(family: str, tmp_path: Path) -> None:
    model = twin(family, "plain").grown
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager"
    )
    ids = tokens(model, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(logits(model, ids), logits(again.double().eval(), ids), rtol=0, atol=1e-12)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    router = again.get_submodule(twin(family, "plain").steps[0].rewrite.grown.moe[0].router)
    assert isinstance(router, DomainRouter)
    assert "weight" in dict(router.named_buffers())


@FAMILY
def test_they_grow_on_as_other_mixtures_do(family: str) -> None:
    apart = inspect(twin(family, "plain").steps[0].rewrite.grown.config, LENGTH)
    assert all(torch.isfinite(tensor).all() for tensor in draw(apart.config, 0).state_dict().values())
    grows = operator("expert_upcycling")
    replicas = {"allocation": {"rule": "explicit", "replicas": [3, 1, 2]}, "factor": 2, "router": {"init": "copy"}}
    exact = grow_twin(apart, [grows.model_validate({"routing": "exclusive", **replicas})], 0)
    proof = prove(exact, Preserves.EXACTLY)
    assert proof.holds, proof
    assert [site.num_experts for site in exact.steps[0].rewrite.grown.moe] == [6, 6]
    law = prove(grow_twin(apart, [grows.model_validate({"routing": "free", **replicas})], 0), Preserves.NEARLY)
    assert law.law_gap is not None
    assert law.holds, law


def test_branches_that_are_the_seed_double_the_networks_by_as_much_as_gates_add() -> None:
    """With renormalised gates every layer's network counts twice: once shared, once routed."""
    mixing = operator("nexus").model_validate({"gates": "renormalised"})
    grown = grow_drawn((draw(source("qwen3").config, 0),) * PARENTS, source("qwen3"), [mixing], 0)
    for site, network in zip(grown.steps[0].rewrite.grown.moe, source("qwen3").ffn, strict=True):
        x = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        with torch.no_grad():
            whole, one = grown.grown.get_submodule(site.block)(x), grown.source.get_submodule(network.block)(x)
        torch.testing.assert_close(whole, 2 * one, rtol=0, atol=1e-6)


def test_domains_are_recorded_and_read_again() -> None:
    drawn: dict[str, tuple[float, ...]] = {
        domain(i): tuple(torch.rand(32).double().tolist()) for i in range(1, PARENTS)
    }
    decision = Decision("nexus", {0: (3,), 1: (3,)}, means=drawn)
    read = Decision.read({"op": "nexus", **decision.record()})
    assert read == decision
    program = read.bound(planned("qwen3", "plain")).programs["model.layers.1.mlp.gate.weight"]
    rows = evaluate(program, torch.tensor([2, 0]), InMemory({}), torch.float64)
    assert torch.equal(rows, torch.tensor([drawn[domain(3)], drawn[domain(1)]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("given", "parts", "codes"),
    [
        ({}, ("seed", "math", "code"), []),
        ({}, ("math", "math", "code"), []),
        ({}, (None, "math", "code"), []),
        ({}, ("seed", "math", "math"), ["GROW392"]),
        ({}, ("seed", "math", None), ["GROW392"]),
        ({}, ("seed", "math"), ["GROW391"]),
        ({"experts": 3}, ("seed", "math", "code"), ["GROW391"]),
        ({"top_k": 3}, ("seed", "math", "code"), ["GROW352"]),
    ],
)
def test_what_does_not_fit_the_states_is_said(
    given: dict[str, Any], parts: tuple[str | None, ...], codes: list[str]
) -> None:
    mixing, graph = Nexus.model_validate(given).mixing(len(parts)), source("llama")
    problems = list(mixing.problems(graph)) or list(mixing.problems_together([graph] * len(parts), pasts_of(parts)))
    assert [problem.code for problem in problems] == codes


def test_a_router_of_domains_projects_them_anew_in_every_forward() -> None:
    grown = twin("qwen3", "plain")
    router = grown.grown.get_submodule(grown.steps[0].rewrite.grown.moe[0].router)
    assert isinstance(router, DomainRouter)
    x = torch.randn(3, 32, dtype=torch.float64)

    def scores() -> Tensor:
        with torch.no_grad():
            return router(x)[0]

    before = scores()
    with torch.no_grad():
        router.down.mul_(2)
    torch.testing.assert_close(scores(), 2 * before)
    with torch.no_grad():
        router.down.div_(2)

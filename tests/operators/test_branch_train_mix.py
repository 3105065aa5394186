"""Operators that make experts of several branches: experts, means and moments, on dense families."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from growc.anatomy.model_graph import ModelGraph
from growc.checks.twin import LENGTH, Twin, grow_drawn, grow_twin
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import inspect
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators import operator
from growc.operators.ancestry import Ancestry
from growc.operators.branch_train_mix import BranchTrainMix
from growc.operators.branches import BranchExperts
from growc.programs import Init, Mean, of_parent
from tests.families import FAMILIES

pytestmark = pytest.mark.share(3)

BRANCHES = 3
OPERATORS: dict[str, dict[str, Any]] = {
    "branch_train_mix": {},
    "branch_train_mix, every second layer": {"layers": "alternate", "optimizer_state": "gradient"},
    "branch_train_mix, softmax": {"gates": "softmax", "optimizer_state": "reset_new"},
    "bam": {},
    "bam, shared": {"kv": "shared", "gates": "renormalised", "top_k": 2, "optimizer_state": "gradient"},
}
FUSED = ("gpt2",)
"""Families whose attention is not made of maps of its own, so that it cannot become experts."""

every = pytest.mark.parametrize(
    ("family", "case"),
    [
        (family, case)
        for family in ("llama", "qwen3", "gpt2", "olmo2")
        for case in OPERATORS
        if not (case.startswith("bam") and family in FUSED)
    ],
)


def settled(case: str) -> BranchExperts:
    mixing = operator(case.partition(",")[0]).model_validate(OPERATORS[case])
    assert isinstance(mixing, BranchExperts)
    return mixing


@cache
def source(family: str) -> ModelGraph:
    return inspect(FAMILIES[family], LENGTH)


@cache
def planned(family: str, case: str) -> Rewrite:
    mixing = settled(case).mixing(BRANCHES)
    assert not [
        *mixing.problems(source(family)),
        *mixing.problems_together([source(family)] * BRANCHES, [Ancestry("branch")] * BRANCHES),
    ]
    return rewrite(settled(case), source(family), seed="0", sequence_length=LENGTH, parents=BRANCHES)


@cache
def twin(family: str, case: str) -> Twin:
    return grow_twin(source(family), [settled(case)], 0, BRANCHES)


@every
def test_expert_i_is_the_network_of_branch_i(family: str, case: str) -> None:
    """As sparse upcycling makes experts of that branch alone."""
    grown, step = twin(family, case), twin(family, case).steps[0].rewrite
    settings = settled(case).model_dump(include={"top_k", "gates", "layers"})
    alone = operator("sparse_upcycling").model_validate({"experts": BRANCHES, **settings})
    upcycled = [
        grow_drawn((branch,), source(family), [alone], 0).grown.state_dict() for branch in (grown.source, *grown.others)
    ]
    state = grown.grown.state_dict()
    for name in (name for site in step.grown.moe for name in site.expert_tensors):
        for number, branch in enumerate(upcycled):
            assert torch.equal(state[name][number], branch[name][number]), name
        assert not torch.equal(state[name][0], state[name][1])


@every
def test_all_else_is_the_mean_and_the_router_is_new(family: str, case: str) -> None:
    grown, step = twin(family, case), twin(family, case).steps[0].rewrite
    states = [model.state_dict() for model in (grown.source, *grown.others)]
    routers = {name for site in step.grown.moe for name in site.router_rows}
    routers |= {f"{site.router}.weight" for site in step.grown.attention if site.router}
    experts = {name for site in step.grown.moe for name in site.expert_tensors}
    experts |= {name for name in step.grown.tensors if ".self_attn.experts." in name}
    for name, value in ((n, v) for n, v in grown.grown.state_dict().items() if n in step.grown.tensors):
        if name in routers:
            assert isinstance(step.programs[name], Init)
            assert 0.5 < float(value.std()) / 0.02 < 2
        elif name not in experts:
            assert isinstance(step.programs[name], Mean)
            torch.testing.assert_close(value, sum(state[name] for state in states) / BRANCHES)


@pytest.mark.parametrize("state", ["reset", "reset_new", "gradient"])
def test_moments_are_those_of_the_branch_or_their_mean(state: str) -> None:
    mixing = operator("branch_train_mix").model_validate({"optimizer_state": state})
    step = rewrite(mixing, source("qwen3"), seed="0", sequence_length=LENGTH, parents=2)
    (first, *_), experts = step.grown.moe, {name for site in step.grown.moe for name in site.expert_tensors}
    kept = {name for name, moments in step.moments.items() if moments.keep_step}
    new = {*experts, *(name for site in step.grown.moe for name in site.router_rows)}
    assert kept == {"reset": set[str](), "reset_new": step.grown.tensors.keys() - new}.get(
        state, step.grown.tensors.keys() - new | experts
    )
    if state == "gradient":
        drawn = {name: torch.rand(tensor.shape, dtype=torch.float64) for name, tensor in step.read.items()}
        second = step.moments[first.expert_tensors[0]].second
        assert second is not None
        value = evaluate(second, torch.tensor([1]), InMemory(drawn), torch.float64)[0]
        parts = (drawn[of_parent(1, f"model.layers.0.mlp.{name}_proj.weight")] for name in ("gate", "up"))
        assert torch.equal(value, torch.cat([*parts]))


@pytest.mark.parametrize(
    ("given", "parents", "code"), [({"experts": 4}, 3, "GROW391"), ({"top_k": 3}, 2, "GROW352"), ({}, 3, None)]
)
def test_what_does_not_fit_the_states_is_said(given: dict[str, Any], parents: int, code: str | None) -> None:
    mixing = BranchTrainMix.model_validate(given).mixing(parents)
    graph = source("llama")
    problems = list(mixing.problems(graph)) or list(
        mixing.problems_together([graph] * parents, [Ancestry("branch")] * parents)
    )
    assert [problem.code for problem in problems] == ([code] if code else [])

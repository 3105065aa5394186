"""Symphony-MoE: units in another order change nothing, attention lies on the sphere, all else is the mean."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from growc.checks.loss import prove
from growc.checks.twin import LENGTH, Twin, apply, draw, grow_drawn, grow_twin
from growc.growth.evaluate import InMemory, evaluate
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import ModelGraph, inspect
from growc.operators import operator
from growc.operators.matching import order_of
from growc.operators.operator import Preserves
from growc.programs import Init, Mean, Slerp, describe, shape, sources
from tests.families import FAMILIES

PARENTS = 3
SYMPHONY = operator("symphony")()
FAMILY = pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "olmo2"])


@cache
def source(family: str) -> ModelGraph:
    return inspect(FAMILIES[family], LENGTH)


@cache
def planned(family: str) -> Rewrite:
    return rewrite(SYMPHONY, source(family), seed="0", sequence_length=LENGTH, parents=PARENTS)


@cache
def twin(family: str) -> Twin:
    return grow_twin(source(family), [SYMPHONY], 0, PARENTS)


@FAMILY
def test_every_tensor_has_one_program_and_every_parent_is_read(family: str) -> None:
    step = planned(family)
    assert not list(SYMPHONY.mixing(PARENTS).problems(step.source))
    shapes = {name: tensor.shape for name, tensor in step.read.items()}
    traced = {name: tensor.shape for name, tensor in step.grown.tensors.items()}
    assert {name: shape(program, shapes) for name, program in step.programs.items()} == traced
    assert frozenset[str]().union(*map(sources, step.programs.values())) == step.read.keys()
    wanted = {(order_of(site, parent), 48) for site in step.source.ffn for parent in range(1, PARENTS)}
    assert {(late.key, late.length) for late in step.lates} == wanted
    assert step.preserves is Preserves.NOT
    assert not twin(family).steps[0].rewrite.lates


@FAMILY
def test_what_is_made_how(family: str) -> None:
    step = planned(family)
    projections = {f"{path}.weight" for site in step.source.attention for path in site.projections}
    assert len(projections) >= 4
    routers = {name for site in step.grown.moe for name in site.router_rows}
    experts = {name for site in step.grown.moe for name in site.expert_tensors}
    moved = {unit.tensor for site in step.grown.moe for unit in site.units}
    for name, program in step.programs.items():
        if name in projections:
            assert isinstance(program, Slerp), name
        elif name in routers:
            assert isinstance(program, Init), name
        elif name in experts:
            assert ("48 units of each row, chosen by measurement" in describe(program)) == (name in moved), name
        else:
            assert isinstance(program, Mean), name


@FAMILY
def test_units_in_another_order_compute_the_same(family: str) -> None:
    """Of equal models, whatever the orders: experts differ in their bits, and not in what they compute."""
    grown = grow_drawn((draw(source(family), 0),) * PARENTS, source(family), [SYMPHONY], 0)
    proof = prove(grown, Preserves.EXACTLY)
    assert proof.holds, proof
    for site in grown.steps[0].rewrite.grown.moe:
        for tensor in {unit.tensor for unit in site.units}:
            value = grown.grown.state_dict()[tensor]
            assert not torch.equal(value[0], value[1]) or not value[0].any()


@FAMILY
def test_the_same_seed_gives_the_same_bytes_and_rows_stand_alone(family: str) -> None:
    grown = twin(family)
    step = grown.steps[0].rewrite
    first, second = (apply(step.programs, grown.tensors()) for _ in range(2))
    fetch = InMemory(grown.tensors())
    for name, whole in first.items():
        assert torch.equal(whole, second[name])
        rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(1))[: len(whole) // 2 + 1]
        assert torch.equal(whole[rows], evaluate(step.programs[name], rows, fetch, torch.float64)), name

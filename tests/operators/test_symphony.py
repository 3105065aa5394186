"""Symphony-MoE: units in another order change nothing, attention lies on the sphere, all else is the mean."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from growc.anatomy.model_graph import ModelGraph
from growc.checks.loss import prove
from growc.checks.twin import LENGTH, Twin, grow_drawn, grow_twin
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import inspect
from growc.model.drawn import draw
from growc.operators import operator
from growc.operators.claims import Preserves
from growc.operators.matching import order_of
from growc.programs import Init, Mean, Slerp, describe
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
def test_what_is_made_how(family: str) -> None:
    step = planned(family)
    wanted = {(order_of(site, parent), 48) for site in step.source.ffn for parent in range(1, PARENTS)}
    assert {(late.key, late.length) for late in step.deferred_vectors} == wanted
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
    grown = grow_drawn((draw(source(family).config, 0),) * PARENTS, source(family), [SYMPHONY], 0)
    proof = prove(grown, Preserves.EXACTLY)
    assert proof.holds, proof
    for site in grown.steps[0].rewrite.grown.moe:
        for tensor in {unit.tensor for unit in site.units}:
            value = grown.grown.state_dict()[tensor]
            assert not torch.equal(value[0], value[1]) or not value[0].any()

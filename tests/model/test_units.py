"""The units of experts, against experts that are really run: positions changed one by one, in every family."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from growc.anatomy.grown_format import grown_config
from growc.anatomy.sites import MoeSite, Units
from growc.model import axes, inspect, sites, units
from growc.model.build import build_meta, load_config
from growc.model.drawn import draw
from growc.model.layers import blocks
from growc.model.trace import trace
from tests.families import FAMILIES, MOE_FAMILIES

INTERLEAVED = ("gpt_oss",)
TRANSPOSED = ("gpt_oss", "llama4_text")


def test_families_hold_their_units_in_different_places() -> None:
    for family in MOE_FAMILIES:
        (up, *_, down) = inspect(FAMILIES[family], 64).moe[0].units
        assert (up.dim, down.dim) == ((1, 0) if family in TRANSPOSED else (0, 1))
        assert (up.times, down.times, up.interleaved) == (2, 1, family in INTERLEAVED)


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_every_expert_tensor_with_the_axis_has_an_entry_in_every_layer(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    width = graph.config.get("moe_intermediate_size", graph.config["intermediate_size"])
    for site in graph.moe:
        lengths = {u.tensor: (u.dim, graph.tensors[u.tensor].shape[u.dim + 1] // u.times) for u in site.units}
        assert {n for _, n in lengths.values()} == {width}
        without = [name for name in site.expert_tensors if name not in lengths]
        assert without == ([f"{site.experts}.down_proj_bias"] if family == "gpt_oss" else [])
        assert sum(unit.down for unit in site.units) == 1


def positions(unit: Units, number: int, count: int) -> list[int]:
    """Where unit `number` of `count` lies along its dimension, by the definition in `Units`."""
    if unit.interleaved:
        return [number * unit.times + t for t in range(unit.times)]
    return [t * count + number for t in range(unit.times)]


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_positions_belong_to_the_unit_that_they_change(family: str) -> None:
    """With one unit cut off from the stream, exactly its own positions can be changed without effect."""
    graph = inspect(FAMILIES[family], 64)
    site = graph.moe[-1]
    model = draw(graph.config, seed=0)
    down = next(unit for unit in site.units if unit.down)
    before = model.get_parameter(down.tensor).detach().clone()
    count = before.shape[down.dim + 1]
    for cut in (0, 5):
        model.get_parameter(down.tensor).data = before.index_fill(down.dim + 1, torch.tensor([cut]), 0)
        for unit in site.units:
            if unit.down:
                continue
            stack = model.get_parameter(unit.tensor).data
            idle = [p for p in range(stack.shape[unit.dim + 1]) if not changes(model, site, unit, p).any()]
            assert idle == sorted(positions(unit, cut, count))


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_only_down_writes_to_features_of_the_stream(family: str) -> None:
    graph = inspect(FAMILIES[family], 64)
    site = graph.moe[-1]
    model = draw(graph.config, seed=0)
    for unit in site.units:
        if len(graph.tensors[unit.tensor].shape) == 3:
            moved = [changes(model, site, unit, feature, along=1 - unit.dim).any(dim=0) for feature in (0, 5)]
            alone = [changed.nonzero().flatten().tolist() for changed in moved]
            assert (alone == [[0], [5]]) == unit.down


def changes(model: nn.Module, site: MoeSite, unit: Units, position: int, along: int | None = None) -> Tensor:
    """Which outputs of the experts, (tokens, hidden), move when one slice of a tensor is drawn anew."""
    stack = model.get_parameter(unit.tensor)
    kept = stack.data.clone()
    before = run(model, site)
    view = stack.data.select((unit.dim if along is None else along) + 1, position)
    view.copy_(torch.rand(view.shape, generator=torch.Generator().manual_seed(1), dtype=view.dtype))
    after = run(model, site)
    stack.data = kept
    return before != after


def run(model: nn.Module, site: MoeSite) -> Tensor:
    """One token for every expert, of shape (experts, hidden)."""
    hidden = model.get_parameter(site.router_rows[0]).shape[1]
    tokens = torch.randn(site.num_experts, hidden, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    chosen = torch.arange(site.num_experts)[:, None]
    routing = () if site.dense_dispatch else (chosen, torch.ones(chosen.shape, dtype=torch.float64))
    with torch.no_grad():
        return model.get_submodule(site.experts)(tokens, *routing)


def test_a_grown_model_keeps_its_units() -> None:
    graph = inspect(FAMILIES["glm4_moe"], 64)
    assert graph.expert_field is not None
    replicas = {1: (3, 2, 2, 1, 1, 1, 3, 3)}
    grown = inspect(grown_config(graph, graph.expert_field, replicas, exclusive=True), 64)
    assert [site.units for site in grown.moe] == [site.units for site in graph.moe]


def test_without_a_field_that_sets_them_no_units_are_claimed() -> None:
    config = axes.pinned(load_config(FAMILIES["olmoe"]))
    model = build_meta(config)
    graph, found = trace(model, 8), blocks(model)
    moe = sites.find(graph, model, found).moe
    every = axes.find(config, model, found, axes.depth_of(config, 2))
    assert all(site.units for site in units.find(moe, every, graph, config, found))
    others = tuple(axis for axis in every if axis.field != "intermediate_size")
    assert units.find(moe, others, graph, config, found) == moe

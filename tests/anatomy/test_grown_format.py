"""Configs of grown models: stock where stock can say it, and groups of siblings that compose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from growc.anatomy.grown_format import grown_config, without_siblings
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import MoeSite
from growc.model import inspect
from tests.families import FAMILIES


def _site(layer: int, experts: int = 2) -> MoeSite:
    block = f"model.layers.{layer}.mlp"
    return MoeSite(layer, block, f"{block}.gate", f"{block}.experts", experts, 1, (), (), f"{block}.gate")


def _model(config: dict[str, Any] | None = None, experts: int = 2) -> ModelGraph:
    """A model with two mixtures, of which only these and the config matter here."""
    return replace(
        inspect(FAMILIES["mixtral"], 16),
        config=config or {"model_type": "some_moe", "num_experts": experts},
        moe=(_site(0, experts), _site(1, experts)),
        expert_field="num_experts",
    )


def test_free_growth_of_all_layers_is_a_stock_config() -> None:
    grown = grown_config(_model(), "num_experts", {0: (2, 2), 1: (3, 1)}, exclusive=False)
    assert grown == {"model_type": "some_moe", "num_experts": 4}


def test_exclusive_growth_names_routers_and_groups() -> None:
    grown = grown_config(_model(), "num_experts", {0: (2, 2), 1: (3, 1)}, exclusive=True)
    assert grown["model_type"] == "growc"
    assert grown["num_experts"] == 4
    assert grown["growc"]["model_type"] == "some_moe"
    assert grown["growc"]["layers"]["1"] == {
        "num_experts": 4,
        "router": "model.layers.1.mlp.gate",
        "replicas": [3, 1],
    }
    assert without_siblings(grown, "num_experts") == {"model_type": "some_moe", "num_experts": 4}


def test_growing_some_layers_says_what_each_has() -> None:
    grown = grown_config(_model(), "num_experts", {1: (2, 2)}, exclusive=False)
    assert grown["num_experts"] == 2
    assert grown["growc"]["layers"] == {"0": {"num_experts": 2}, "1": {"num_experts": 4}}
    assert without_siblings(grown, "num_experts") == grown


def test_groups_compose() -> None:
    """Siblings of siblings are siblings of the first source."""
    once = grown_config(_model(), "num_experts", {0: (1, 3), 1: (2, 2)}, exclusive=True)
    twice = grown_config(_model(once, 4), "num_experts", {0: (2, 2, 2, 2), 1: (1, 3, 2, 2)}, exclusive=True)
    assert twice["num_experts"] == 8
    assert twice["growc"]["layers"]["0"]["replicas"] == [2, 6]
    assert twice["growc"]["layers"]["1"]["replicas"] == [4, 4]
    assert twice["growc"]["model_type"] == "some_moe"

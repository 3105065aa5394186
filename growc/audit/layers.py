"""The tensors of a layer that a reading of its experts must speak of."""

from __future__ import annotations

from typing import Any

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import MoeSite
from growc.audit.fault import refuse
from growc.audit.moving import expert_tensors
from growc.audit.step import Step
from growc.model.layers import layer_of


def spoken_of(step: Step[Any], site: MoeSite) -> tuple[str, ...]:
    """The tensors of a layer of the source that have a row for each expert.

    The shapes of models of other sizes say which they are, and the trace must know each of them for what it is.
    """
    bias = (site.selection_bias,) if site.selection_bias else ()
    known = (*site.expert_tensors, *site.router_rows, *bias, *site.per_expert)
    check_known(step.before, site.layer, frozenset(known))
    return known


def check_known(graph: ModelGraph, layer: int, known: frozenset[str]) -> None:
    """Refuse a layer in which other tensors than the known ones have rows for experts (GROW665)."""
    moving = {name for name in expert_tensors(graph) if layer_of(graph.blocks.path, name) == layer}
    for name in sorted(moving - known):
        refuse(f"{name} changes with the number of experts, and no reading says what it must hold")
    for name in sorted(known - moving):
        refuse(f"{name} is taken for a tensor with a row for each expert, and does not change with their number")

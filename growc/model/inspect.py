"""From a config to a `ModelGraph`: build on the meta device, trace, find sites and axes, count."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from logging import ERROR
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from torch import Tensor, fx
from transformers.utils import logging

from growc.anatomy.grown_format import GROWN, groups_of
from growc.anatomy.model_graph import Blocks, ModelGraph, TensorInfo
from growc.anatomy.sites import MoeSite
from growc.model import axes, cost, expert_tensors, layers, routing, sites, units
from growc.model.build import canonical, load_config, own_attention
from growc.model.kept import keep
from growc.model.traced import TRACE_LENGTH, trace_kinds

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GRAPH = TypeAdapter(ModelGraph)


def inspect(config: Mapping[str, Any], sequence_length: int) -> ModelGraph:
    """The model of a Hugging Face config mapping; FLOPs are those per token at `sequence_length`.

    Needs no weights and no accelerator. Equal configs are traced once per process, whatever their dtype.

    Errors: GROW201-203 (the config), GROW204 (the model cannot be traced).
    """
    key = json.dumps(canonical(load_config(config)), sort_keys=True)
    with _quiet():
        graph = _inspect(key)
    return replace(graph, cost=graph.cost.at(sequence_length))


@lru_cache(maxsize=64)
def _inspect(key: str) -> ModelGraph:
    return keep("traces", json.loads(key), {"length": TRACE_LENGTH}, GRAPH, lambda: _traced(key))


def _traced(key: str) -> ModelGraph:
    traced = trace_kinds(axes.pinned(load_config(json.loads(key))))
    config, model, blocks, depth = traced.config, traced.whole, traced.blocks, traced.depth
    graph, small = traced.graph, traced.small
    found = sites.find(graph, traced.model, blocks)
    if not found.attention and cost.multiplies(graph):
        own_attention(config.model_type)
    moved = axes.find(small, traced.model, blocks, depth)
    expert_field = axes.expert_field(moved, found.moe)
    mixtures = expert_tensors.find(found.moe, moved, expert_field, graph, traced.model, blocks)
    top_k_field = routing.top_k_field(mixtures, small, blocks)
    groups = groups_of(config.to_dict())
    tensors, tied = _tensors(model)
    moe = tuple(
        replace(site, siblings=groups.get(site.layer, ()), width=_width(site, tensors))
        for site in units.find(mixtures, moved, graph, small, blocks)
    )
    values = canonical(config)
    return ModelGraph(
        model_type=f"grown {values[GROWN]['model_type']}" if GROWN in values else config.model_type,
        config=values,
        tensors=tensors,
        tied=tied,
        moe=routing.repetitions(moe, small, blocks, expert_field, top_k_field),
        ffn=found.ffn,
        attention=found.attention,
        blocks=blocks,
        axes=moved,
        expert_field=expert_field,
        top_k_field=top_k_field,
        layers_field=depth.field,
        layer_lists=depth.lists,
        cost=cost.count(graph, found, blocks, tensors, head_of(model)),
        unreached=_unreached(graph, blocks, tensors),
        names={**config.attribute_map},
        near_miss=found.near_miss,
    )


@contextmanager
def _quiet() -> Generator[None]:
    """Without transformers' remarks on the config: loading it made them, and dozens of variants follow."""
    before = logging.get_verbosity()
    logging.set_verbosity(max(before, ERROR))
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _tensors(model: PreTrainedModel) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Parameters and persistent buffers in the state dict's order, and the further names of tied ones."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    found: dict[str, TensorInfo] = {}
    tied: dict[str, str] = {}
    first: dict[int, str] = {}
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        if id(tensor) in first:
            tied[name] = first[id(tensor)]
            continue
        first[id(tensor)] = name
        kind = "parameter" if name in parameters else "buffer"
        found[name] = TensorInfo(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), kind)
    return found, tied


def _width(site: MoeSite, tensors: Mapping[str, TensorInfo]) -> int:
    """How many intermediate units each expert of a layer has, or 0 where it is not known."""
    return next((tensors[unit.tensor].shape[unit.dim + 1] // unit.times for unit in site.units), 0)


def head_of(model: PreTrainedModel) -> str | None:
    """The name of the module that gives the logits."""
    head = model.get_output_embeddings()
    return next((name for name, module in model.named_modules() if module is head), None) if head is not None else None


def _unreached(graph: fx.GraphModule, blocks: Blocks, tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    """Parameters that the forward pass never touches."""
    called = {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}
    read = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}

    def reached(name: str) -> bool:
        first = layers.in_first_alike(blocks, name)
        return first in read or any(first.startswith(f"{module}.") for module in called)

    return tuple(name for name, tensor in tensors.items() if tensor.kind == "parameter" and not reached(name))

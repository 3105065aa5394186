"""Whether a model computes what a dense one does when all of its experts are copies of the dense network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from growc.model.build import REFUSALS, load_config
from growc.model.fused import fused
from growc.model.graph import ModelGraph
from growc.operators.as_experts import as_experts
from growc.operators.sites import FfnSite, MoeSite

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GAP = 1e-5
"""How far logits may lie apart: routers take their softmax in single precision, whatever the model's own type."""


def computes_the_same(dense: ModelGraph, network: FfnSite, held: ModelGraph, order: tuple[int, ...]) -> bool:
    """Whether the two models have the same logits on random tokens, in float64.

    Args:
        dense: a small model.
        network: of which all experts are copies.
        held: the model with experts in the network's place.
        order: the places of the network's maps in an expert's tensor.
    """
    if len(held.moe) != 1 or not _same_elsewhere(dense, network, held, held.moe[0]):
        return False
    (site,) = held.moe
    try:
        source, target = _drawn(dense.config), _drawn(held.config)
        state, drawn = source.state_dict(), target.state_dict()
        copied = {name: state[name] if name in state else _value(name, value, site, network, state, order)
                  for name, value in drawn.items()}  # fmt: skip
        target.load_state_dict(copied)
        ids = torch.randint(dense.config["vocab_size"], (2, 16), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            gap = (source(input_ids=ids).logits - target(input_ids=ids).logits).abs().max()
    except REFUSALS:
        return False
    return bool(gap < GAP)


def _same_elsewhere(dense: ModelGraph, network: FfnSite, held: ModelGraph, site: MoeSite) -> bool:
    """Whether all tensors but those of the mixture are the dense model's, and those of the network are gone."""
    maps = (*network.up, network.down)
    gone = {name for name in dense.tensors if name.rpartition(".")[0] in maps}
    new = {*site.expert_tensors, *site.router_rows, site.selection_bias}
    before = {(name, tensor.shape) for name, tensor in dense.tensors.items() if name not in gone}
    after = {(name, tensor.shape) for name, tensor in held.tensors.items() if name not in new}
    biases = (
        any(name.endswith(".bias") for name in gone),
        any(len(held.tensors[n].shape) == 2 for n in site.expert_tensors),
    )
    return before == after and biases[0] == biases[1]


def _drawn(config: Mapping[str, Any]) -> PreTrainedModel:
    """A model with random weights in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            load_config(config), attn_implementation="eager", experts_implementation="eager", dtype=torch.float64
        )
        for parameter in model.parameters():
            parameter.data.normal_(std=parameter.shape[-1] ** -0.5)
    return model.eval()


def _value(
    name: str, drawn: Tensor, site: MoeSite, network: FfnSite, state: Mapping[str, Tensor], order: tuple[int, ...]
) -> Tensor:
    """A tensor of the mixture: the network in every expert, or a router's random rows."""
    if name not in site.expert_tensors:
        return torch.zeros_like(drawn) if name == site.selection_bias else drawn
    how = as_experts(name, tuple(drawn.shape), site, network, order)
    return fused([state[part.name] for part in how.parts], how).expand_as(drawn)

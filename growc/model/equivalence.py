"""Whether a model computes what a dense one does when all of its experts are copies of the dense networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from growc.anatomy.matches import NewExpert
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import FfnSite, MoeSite
from growc.diagnostics import GrowcError
from growc.model.build import REFUSALS
from growc.model.drawn import draw, logits, tokens
from growc.model.reach import LENGTH
from growc.model.stack_ffn import fused
from growc.operators.as_experts import as_experts

GAP = 1e-9
"""How far logits of order 1 may lie apart by the rounding of float64."""


def computes_the_same(
    dense: ModelGraph, networks: tuple[FfnSite, ...], held: ModelGraph, order: tuple[int, ...]
) -> bool:
    """Whether the two models have the same logits on random tokens, in float64.

    Args:
        dense: a small model.
        networks: of which all experts are copies.
        held: the model with experts in the networks' places.
        order: the places of a network's maps in an expert's tensor.
    """
    pairs = [(site, network) for network in networks for site in held.moe if site.layer == network.layer]
    if len(pairs) != len(networks) or not _same_elsewhere(dense, held, pairs):
        return False

    def as_new(name: str, drawn: Tensor, site: MoeSite, network: FfnSite) -> NewExpert:
        return NewExpert(name, tuple(drawn.shape), dense, 1, site, network, order)

    try:
        source, target = draw(dense.config, seed=0), draw(held.config, seed=1)
        state, drawn = source.state_dict(), target.state_dict()
        made = {name: (site, network) for site, network in pairs for name in _new(site)}
        target.load_state_dict(
            {name: _value(as_new(name, value, *made[name]), value, state) if name in made else state[name]
             for name, value in drawn.items()}
        )  # fmt: skip
        ids = tokens(dense.config["vocab_size"], 2, LENGTH)
        with torch.no_grad():
            gap = (logits(source, ids) - logits(target, ids)).abs().max()
    except (GrowcError, *REFUSALS):
        return False
    return bool(gap < GAP)


def _new(site: MoeSite) -> set[str]:
    """The tensors that a mixture has and a dense network has not."""
    bias = () if site.selection_bias is None else (site.selection_bias,)
    return {*site.expert_tensors, *site.router_rows, *bias}


def _same_elsewhere(dense: ModelGraph, held: ModelGraph, pairs: list[tuple[MoeSite, FfnSite]]) -> bool:
    """Whether all tensors but those of the mixtures are the dense model's, and those of the networks are gone."""
    maps = {path for _, network in pairs for path in (*network.up, network.down)}
    gone = {name for name in dense.tensors if name.rpartition(".")[0] in maps}
    new = set[str]().union(*(_new(site) for site, _ in pairs))
    before = {(name, tensor.shape) for name, tensor in dense.tensors.items() if name not in gone}
    after = {(name, tensor.shape) for name, tensor in held.tensors.items() if name not in new}
    biases = (
        any(name.endswith(".bias") for name in gone),
        any(len(held.tensors[n].shape) == 2 for site, _ in pairs for n in site.expert_tensors),
    )
    return before == after and biases[0] == biases[1]


def _value(tensor: NewExpert, drawn: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """A tensor of the mixture: the network in every expert, or a router's random rows."""
    if tensor.name not in tensor.site.expert_tensors:
        return torch.zeros_like(drawn) if tensor.name == tensor.site.selection_bias else drawn
    how = as_experts(tensor)
    return fused([state[part.name] for part in how.parts], how).expand_as(drawn)

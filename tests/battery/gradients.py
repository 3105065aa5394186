"""Gradients of twins, and what they say of experts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from growc.anatomy.sites import MoeSite
from growc.checks.twin import loss
from growc.model.drawn import logits
from growc.numerics.evaluate import InMemory, evaluate
from growc.programs import Expr, sources


def gradients(model: PreTrainedModel, ids: Tensor) -> dict[str, Tensor]:
    """The gradient of the mean loss by every parameter; zeros where the loss does not depend on one."""
    model.zero_grad()
    loss(logits(model, ids), ids).backward()
    return {name: _gradient(p).clone() for name, p in model.named_parameters()}


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def learning_rows(gradient: Tensor) -> Tensor:
    """Which rows of a tensor have a gradient, of shape (rows,)."""
    return gradient.view(len(gradient), -1).abs().amax(dim=1) > 0


def summed_over_copies(values: Tensor, program: Expr, source: Tensor) -> Tensor:
    """What all copies of every element of the source add up to: `program` says where elements come from."""
    numbered = InMemory(dict.fromkeys(sources(program), torch.arange(source.numel()).double().view_as(source)))
    came_from = evaluate(program, torch.arange(len(values)), numbered, torch.float64).long()
    total = torch.zeros(source.numel(), dtype=values.dtype)
    return total.index_add(0, came_from.flatten(), values.flatten()).view_as(source)


def loads_of(model: PreTrainedModel, site: MoeSite, ids: Tensor) -> Tensor:
    """How many tokens each expert of one layer gets, of shape (experts,)."""
    routed: list[tuple[Tensor, ...]] = []
    hook = model.get_submodule(site.router).register_forward_hook(lambda *call: routed.append(call[-1]))
    with torch.no_grad():
        logits(model, ids)
    hook.remove()
    chosen = [out for out in routed[0] if not out.is_floating_point()]
    if not chosen:  # dense dispatch: gates of all experts, zero where not chosen
        return (routed[0][0] > 0).view(-1, site.num_experts).sum(dim=0)
    return chosen[0].flatten().bincount(minlength=site.num_experts)

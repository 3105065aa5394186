"""Utility of experts, measured over calibration batches under any sharding (arXiv 2604.19835, Section 3.3)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from growc.operators.allocation import Score
from growc.operators.sites import MoeSite
from growc.run.distribute import local, named_state, reshard
from growc.run.losses import precision, token_losses
from growc.run.optimizer import State
from growc.run.sharded import rows_held
from growc.spec.training import Precision

EPSILON = 1e-8
"""Keeps the curvature score finite where Adam has seen no gradient."""


def expert_scores(
    score: Score,
    model: PreTrainedModel,
    optimizer: State,
    sites: tuple[MoeSite, ...],
    batches: list[Tensor],
    kind: Precision,
    device: torch.device,
) -> dict[int, tuple[float, ...]]:
    """The score of every expert of every site, by layer; the same numbers on every rank.

    With w the weights of an expert (all its tensors), g the gradient of the loss of one whole batch and v Adam's
    second moment: weight_norm = ||w||, gradient_squared = ||g||^2, saliency = ||w|| ||g||,
    curvature = ||g||^2 / (||v|| + 1e-8); means over the batches.

    Args:
        score: which.
        model: the source model, laid out over the ranks.
        optimizer: its optimizer's state, for curvature.
        sites: the layers.
        batches: this rank's share of every calibration batch, each of shape (sequences, sequence_length + 1).
        kind: precision of the forward and backward.
        device: of this rank.
    """
    weights = {site.layer: _squares(site, named_state(model)) for site in sites}
    if score == "weight_norm":
        return {layer: _listed(squares.sqrt()) for layer, squares in weights.items()}

    totals = {site.layer: torch.zeros(site.num_experts, dtype=torch.float64, device=device) for site in sites}
    seconds = {name: entry["exp_avg_sq"] for name, entry in optimizer.items() if "exp_avg_sq" in entry}
    was_training = model.training
    model.eval()
    for batch in batches:
        with precision(kind, device):
            token_losses(model, batch.to(device)).mean().backward()
        reshard(model)
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        for site in sites:
            squares = _squares(site, gradients)
            match score:
                case "gradient_squared":
                    value = squares
                case "saliency":
                    value = weights[site.layer].sqrt() * squares.sqrt()
                case "curvature":
                    value = squares / (_squares(site, seconds).sqrt() + EPSILON)
            totals[site.layer] += value
        model.zero_grad(set_to_none=True)
    model.train(was_training)
    return {layer: _listed(total / len(batches)) for layer, total in totals.items()}


def _squares(site: MoeSite, tensors: dict[str, Tensor]) -> Tensor:
    """Sum of squares over each expert's share of its tensors, of shape (experts,), summed over the ranks once."""
    total = torch.zeros(site.num_experts, dtype=torch.float64)
    shared = False
    for name in site.expert_tensors:
        if name not in tensors:
            continue
        tensor, mine = tensors[name], local(tensors[name])
        held = rows_held(tensor)
        total = total.to(mine.device)
        total[held.start : held.stop] += mine.double().flatten(1).square().sum(dim=1)
        shared = shared or isinstance(tensor, DTensor)
    if shared:
        dist.all_reduce(total)
    return total


def _listed(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())

"""Utility of experts, measured over calibration batches under any sharding (arXiv 2604.19835, Section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.sites import MoeSite
from growc.checkpoint.training import State
from growc.engine.distribute import local, named_state, over_shards
from growc.engine.sharded import rows_held
from growc.measures.gradients import backward_over
from growc.operators.measures import Ranking
from growc.operators.scores import combined, drawn, parts

EPSILON = 1e-8
"""Keeps the curvature score finite where Adam has seen no gradient."""


class Part(NamedTuple):
    """Tensors of a layer's experts that are scored together."""

    site: MoeSite
    names: tuple[str, ...]


def expert_scores(
    rule: Ranking,
    model: PreTrainedModel,
    optimizer: State,
    sites: tuple[MoeSite, ...],
    batches: Callable[[int], list[Tensor]],
    device: torch.device,
    seed: str,
) -> dict[int, tuple[float, ...]]:
    """The score of every expert of every site, by layer; the same numbers on every rank.

    With w the weights of an expert (those of its tensors that `rule.over` names), g the gradient of the loss of one
    whole batch and v Adam's second moment: weight_norm = ||w||, gradient_squared = ||g||^2, saliency = ||w|| ||g||,
    curvature = ||g||^2 / (||v|| + 1e-8); means over the batches. `random` is drawn.

    Args:
        rule: which score, over what.
        model: the source model, laid out over the ranks.
        optimizer: its optimizer's state, for curvature.
        sites: the layers.
        batches: gives this rank's share of so many calibration batches, each of shape
            (sequences, sequence_length + 1).
        device: of this rank.
        seed: of the growth step, for `random`.
    """
    if rule.score == "random":
        return {site.layer: drawn(site, seed) for site in sites}
    wanted = {site.layer: [Part(site, names) for names in parts(site, rule.over)] for site in sites}
    flat = [part for of_layer in wanted.values() for part in of_layer]
    if rule.score == "weight_norm":
        state = named_state(model)
        found = {part: _squares(part, state).sqrt() for part in flat}
    else:
        found = _over_batches(rule, model, optimizer, flat, batches(rule.batches), device)
    return {
        layer: combined(rule.over, [found[part].tolist() for part in of_layer]) for layer, of_layer in wanted.items()
    }


def _over_batches(
    rule: Ranking,
    model: PreTrainedModel,
    optimizer: State,
    wanted: list[Part],
    batches: list[Tensor],
    device: torch.device,
) -> dict[Part, Tensor]:
    """Mean scores of parts over batches, each of shape (experts,)."""
    state = named_state(model)
    norms = {part: _squares(part, state).sqrt() for part in wanted} if rule.score == "saliency" else {}
    seconds = {name: entry["exp_avg_sq"] for name, entry in optimizer.items() if "exp_avg_sq" in entry}
    curvatures = {part: _squares(part, seconds).sqrt() for part in wanted} if rule.score == "curvature" else {}
    totals = {part: torch.zeros(part.site.num_experts, dtype=torch.float64, device=device) for part in wanted}
    for parameters in backward_over(model, batches, device):
        gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        for part in wanted:
            squares = _squares(part, gradients)
            match rule.score:
                case "saliency":
                    squares = norms[part] * squares.sqrt()
                case "curvature":
                    squares = squares / (curvatures[part] + EPSILON)
                case _:
                    pass
            totals[part] += squares
    return {part: total / len(batches) for part, total in totals.items()}


def _squares(part: Part, tensors: dict[str, Tensor]) -> Tensor:
    """Sum of squares over each expert's share of a part, of shape (experts,), summed over the ranks once."""
    total, shared = torch.zeros(part.site.num_experts, dtype=torch.float64), None
    for name in part.names:
        if name not in tensors:
            continue
        tensor, mine = tensors[name], local(tensors[name])
        held = rows_held(tensor)
        total = total.to(mine.device)
        total[held.start : held.stop] += mine.double().flatten(1).square().sum(dim=1)
        shared = tensor
    return total if shared is None else over_shards(total, shared)

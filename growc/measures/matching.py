"""The order in which the units of one model's feed-forward networks are most like those of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.replicas import KeptUnits
from growc.anatomy.sites import FfnSite
from growc.measures.inputs import inputs_of


def unit_orders(
    models: Sequence[PreTrainedModel],
    networks: Sequence[FfnSite],
    batches: Sequence[Tensor],
    device: torch.device,
) -> dict[int, KeptUnits]:
    """For every network, by layer, and every model but the first: which of its units takes each place.

    Unit `order[i]` goes to the place of the first model's unit i. Of all permutations P it is the one with the smallest
    ||A_1 - A P||_F, where the columns of A are the activations of units over all tokens of all ranks, scaled to length
    1. The same on every rank.

    Args:
        models: of one architecture, laid out over the ranks.
        networks: whose units are matched.
        batches: this rank's share of the calibration text, each of shape (sequences, sequence_length + 1).
        device: of this rank.
    """
    found: dict[int, KeptUnits] = {site.layer: () for site in networks}
    for model in models[1:]:
        alike = _alike((models[0], model), networks, batches, device)
        orders: list[Any] = [[_order(alike[site.name]) for site in networks] if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(orders)
        for site, order in zip(networks, orders[0], strict=True):
            found[site.layer] = (*found[site.layer], order)
    return found


def _order(alike: Tensor) -> tuple[int, ...]:
    _, columns = linear_sum_assignment(alike.numpy(), maximize=True)
    return tuple(int(column) for column in columns)


def _alike(
    pair: tuple[PreTrainedModel, PreTrainedModel],
    networks: Sequence[FfnSite],
    batches: Sequence[Tensor],
    device: torch.device,
) -> dict[str, Tensor]:
    """Cosines between the activations of all units of two models, by network: of shape (units, units)."""
    wide = {site.name: site.width for site in networks}
    back = {site.name: site.down for site in networks}
    products = {name: torch.zeros(n, n, dtype=torch.float64, device=device) for name, n in wide.items()}
    squares = {name: torch.zeros(2, n, dtype=torch.float64, device=device) for name, n in wide.items()}
    for batch in batches:
        seen = [inputs_of(model, back, batch.to(device)) for model in pair]
        for name in wide:
            one, other = (activations[name].double() for activations in seen)
            products[name] += one.T @ other
            squares[name] += torch.stack([one.square().sum(0), other.square().sum(0)])
    for total in (*products.values(), *squares.values()):
        dist.all_reduce(total)
    lengths = {name: total.sqrt().clamp(min=torch.finfo(torch.float64).tiny) for name, total in squares.items()}
    return {name: (products[name] / lengths[name][0, :, None] / lengths[name][1]).cpu() for name in wide}

"""How much each intermediate unit of each expert matters, under any sharding (arXiv 2506.18349)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.sites import MoeSite
from growc.engine.distribute import local, named_state, over_shards
from growc.engine.sharded import rows_held
from growc.measures.gradients import backward_over
from growc.numerics.units import over_units, tensors_of
from growc.operators.sensitivity import BySensitivity, drawn


def unit_scores(
    how: BySensitivity,
    model: PreTrainedModel,
    sites: tuple[MoeSite, ...],
    batches: Callable[[int], list[Tensor]],
    device: torch.device,
    seed: str,
) -> dict[int, tuple[float, ...]]:
    """The score of every unit of every expert, expert after expert, by layer; the same numbers on every rank.

    With w the weights into and out of a unit and g the gradient of the loss of one whole batch: sensitivity = the mean
    over the batches of sum |w g|, weight_norm = ||w||. `random` is drawn.

    Args:
        how: which score.
        model: the source model, laid out over the ranks.
        sites: the layers.
        batches: gives this rank's share of so many calibration batches, each of shape
            (sequences, sequence_length + 1).
        device: of this rank.
        seed: of the growth step, for `random`.
    """
    if how.score == "random":
        return {site.layer: drawn(site, seed) for site in sites}
    if how.score == "weight_norm":
        state = named_state(model)
        return {site.layer: _listed(_summed(site, state, _squares).sqrt()) for site in sites}
    totals: dict[int, Tensor] = {}
    parts = batches(how.batches)
    for weights in backward_over(model, parts, device):
        for site in sites:
            found = _summed(site, weights, _moves)
            totals[site.layer] = totals[site.layer] + found if site.layer in totals else found
    return {layer: _listed(total / len(parts)) for layer, total in totals.items()}


def _listed(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())


def _summed(site: MoeSite, tensors: Mapping[str, Tensor], values: Callable[[Tensor], Tensor | None]) -> Tensor:
    """One value for every weight of this rank's shards, summed over each unit, and over the ranks once."""

    def blocks(name: str) -> Iterator[tuple[range, Tensor]]:
        found = values(tensors[name]) if name in tensors else None
        if found is not None and len(held := rows_held(tensors[name])):
            yield held, found

    with torch.no_grad():
        total = over_units(site, blocks)
    held = next((tensors[name] for name in tensors_of(site) if name in tensors), None)
    return total if held is None else over_shards(total, held)


def _squares(weight: Tensor) -> Tensor:
    return local(weight).double().square()


def _moves(weight: Tensor) -> Tensor | None:
    """|w g|, to first order what the loss moves by without each weight."""
    return None if weight.grad is None else (local(weight).double() * local(weight.grad).double()).abs()

"""Sums over the weights of every intermediate unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from growc.anatomy.sites import FfnSite, MoeSite, Units


def by_unit(values: Tensor, unit: Units) -> Tensor:
    """What belongs to each unit of each expert, summed: of shape (experts, units).

    Args:
        values: one for every weight of a tensor of experts, or of some of them.
        unit: where its units lie.
    """
    sums = values.movedim(unit.dim + 1, 1).reshape(len(values), values.shape[unit.dim + 1], -1).sum(dim=2)
    if unit.interleaved:
        return sums.unflatten(1, (-1, unit.times)).sum(dim=2)
    return sums.unflatten(1, (unit.times, -1)).sum(dim=1)


Blocks = Callable[[str], Iterable[tuple[range, Tensor]]]
"""For a tensor, by name: some rows, and one value for every weight in them, as often as it takes; nothing if none."""


def over_units(site: MoeSite, blocks: Blocks) -> Tensor:
    """What belongs to each unit of each expert of a layer, summed: of shape (units,), shared experts last."""
    routed = torch.zeros(site.num_experts, site.width, dtype=torch.float64)
    for unit in site.units:
        for held, values in blocks(unit.tensor):
            routed = routed.to(values.device)
            routed[held.start : held.stop] += by_unit(values, unit)
    return torch.cat([routed.flatten(), *(_shared(ffn, blocks).to(routed.device) for ffn in site.shared)])


def _shared(ffn: FfnSite, blocks: Blocks) -> Tensor:
    total = torch.zeros(ffn.width, dtype=torch.float64)
    for name in ffn.into:
        for held, values in blocks(name):
            total = total.to(values.device)
            total[held.start : held.stop] += values.reshape(len(held), -1).sum(dim=1)
    for _, values in blocks(ffn.back):
        total = total.to(values.device) + values.sum(dim=0)
    return total


def tensors_of(site: MoeSite) -> Iterator[str]:
    """The tensors of a layer that may have units."""
    yield from (unit.tensor for unit in site.units)
    yield from (name for ffn in site.shared for name in (*ffn.into, ffn.back))

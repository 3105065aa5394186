"""A dense feed-forward network as an expert, and what all operators that make experts of one have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from growc.anatomy.sites import FfnSite, MoeSite, Units
from growc.audit.layers import check_known
from growc.audit.record import recorded_replicas
from growc.audit.rows import Told, whole
from growc.audit.step import Reading, Step
from growc.audit.value import Value, computed
from growc.operators.dense_to_moe import DenseToMoe, FreshRouter, FromDense

Expert = Callable[["Place", int], Value]
"""What one expert of a tensor is, by its number."""


@dataclass(frozen=True)
class Place:
    """An expert tensor of a mixture `site` of the grown model, in the place of `network` of the source.

    `order` has the places of the network's maps to its units in the tensor.
    """

    step: Step[FromDense]
    site: MoeSite
    network: FfnSite
    order: tuple[int, ...]
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an expert."""
        return self.step.after.tensors[self.name].shape[1:]

    @property
    def units(self) -> Units | None:
        """Where its intermediate units lie, if it has any."""
        return next((unit for unit in self.site.units if unit.tensor == self.name), None)

    @property
    def down(self) -> bool:
        """Whether it leads back from the units, or is added there."""
        return self.units is None or self.units.down

    @property
    def parts(self) -> tuple[str, ...]:
        """The tensors of the source that lie in it, in their order there."""
        kind = "weight" if len(self.shape) == 2 else "bias"
        maps = (self.network.down,) if self.down else tuple(self.network.up[place] for place in self.order)
        return tuple(f"{path}.{kind}" for path in maps)

    def expert(self, shard: int = 0, shards: int = 1, scales: Sequence[float] = ()) -> Value:
        """The expert that has one of `shards` equal shares of the network's units, its parts scaled."""
        parts = [whole(self.step.source, name) for name in self.parts]
        made = _laid_out(self, [part.tensor for part in parts], shard, shards)
        says = f"{' and '.join(self.parts)} of the source"
        says = f"share {shard} of {shards} of {says}" if shards > 1 else says
        if all(scale == 1 for scale in scales) and all(part.slack is None for part in parts):
            return Value(made, says)
        by = scales or [1.0] * len(parts)
        scaled = [scale * part.wide for scale, part in zip(by, parts, strict=True)]
        made = _laid_out(self, scaled, shard, shards)
        return replace(computed(made, f"{says}, times {[round(b, 6) for b in by]}", *parts, gain=max(1.0, *by)))


def _laid_out(place: Place, parts: Sequence[Tensor], shard: int, shards: int) -> Tensor:
    """Parts of a network put together as the row of an expert: unit by unit, or one part after the other."""
    units = place.units
    if units is None:
        return parts[0]  # the bias of the way back is no unit's
    # Linear maps hold (outputs, inputs), transposed ones the other way round; on the way back units are inputs.
    outputs_first = not place.network.transposed
    by_unit = [part if part.dim() == 1 or place.down != outputs_first else part.T for part in parts]
    shares = [part.chunk(shards)[shard] for part in by_unit]
    together = torch.stack(shares, dim=1).flatten(0, 1) if units.interleaved else torch.cat(shares)
    return together if together.dim() == 1 or units.dim == 0 else together.T


def read_dense(step: Step[FromDense], expert: Expert, router: Callable[[str], Told]) -> Reading:
    """The reading of an operator that makes experts of dense networks.

    Args:
        step: what is grown.
        expert: what every expert of a tensor is.
        router: what the rows of a router are, or the biases of its logits, by name.
    """
    told: dict[str, Told] = {}
    for site, network, order in places(step):
        recorded_replicas(step, site.layer, [step.operator.experts])
        for name in site.expert_tensors:
            told[name] = _told(Place(step, site, network, order, name), expert)
        for name in site.router_rows:
            told[name] = router(name)
        if site.selection_bias:
            told[site.selection_bias] = zeros(step, site.selection_bias)
        check_known(step.after, site.layer, frozenset((*site.expert_tensors, *site.router_rows, *_bias(site))))
    return told


def places(step: Step[FromDense]) -> Iterator[tuple[MoeSite, FfnSite, tuple[int, ...]]]:
    """The layers that became mixtures, with the networks that were there, and the order of their maps in experts."""
    mixed = {site.layer for site in step.before.moe}
    dense = [site for site in step.before.ffn if site.layer not in mixed]
    match step.operator.layers:
        case "all":
            chosen = dense
        case "alternate":
            chosen = dense[1::2]
        case layers:
            chosen = [site for site in dense if site.layer in layers]
    made = {site.layer: site for site in step.after.moe}
    for network in chosen:
        yield made[network.layer], network, step.order


def copies(place: Place, _: int) -> Value:
    """Every expert is the network."""
    return place.expert()


def drawn_router(step: Step[DenseToMoe], groups: int = 1) -> Callable[[str], Told]:
    """A router drawn anew, with one row for each `groups` experts in a row; biases are 0."""
    how = step.operator.router

    def told(name: str) -> Told:
        shape = step.after.tensors[name].shape[1:]
        if not shape:
            return zeros(step, name)
        return Told(step.fresh_dtype(name), lambda row: _drawn(step, name, row // groups, shape, how))

    return told


def _drawn(step: Step[DenseToMoe], name: str, row: int, shape: tuple[int, ...], how: FreshRouter) -> Value:
    says = f"draws with a standard deviation of {how.std:g}"
    if how.distribution == "uniform":  # over (-a, a), whose standard deviation is a / sqrt(3)
        return computed(how.std * 3**0.5 * step.uniform(name, row, shape), says)
    return computed(how.std * step.normal(name, row, shape), says)


def zeros(step: Step[Any], name: str) -> Told:
    """A tensor of zeros."""
    dtype, shape = step.fresh_dtype(name), step.after.tensors[name].shape[1:]
    return Told(dtype, lambda _: Value(torch.zeros(shape, dtype=dtype), "zeros"))


def _told(place: Place, expert: Expert) -> Told:
    return Told(place.step.source.dtype(min(place.parts)), lambda number: expert(place, number))


def _bias(site: MoeSite) -> tuple[str, ...]:
    return (site.selection_bias,) if site.selection_bias else ()

"""Longer axes: every number of a grown tensor is one of the source, multiplied by what each of its dimensions asks for.

Of an axis, every feature is a copy. Those of the residual stream hold so much that the mean of their squares is as it
was; whatever reads a feature divides its work among the copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from growc.anatomy.widths import STREAM, Role, Segment
from growc.audit.rows import Told, row, std
from growc.audit.step import Reading, Step
from growc.audit.value import Value, computed, moved
from growc.model.find_widths import find_widths
from growc.operators.widening import Widening


@dataclass(frozen=True)
class Positions:
    """One dimension: for every position where it comes from, the factors of weights and of gradients, and its part of
    the noise; all of shape (positions,).
    """

    origin: Tensor
    factor: Tensor
    gradient: Tensor
    noise: Tensor


def read(step: Step[Widening]) -> Reading:
    """See `growc.audit.readings`."""
    raised = find_widths(step.before).raised
    return {name: _weights(step, name, dims, name in raised) for name, dims in widened(step).items()}


def widened(step: Step[Any]) -> dict[str, list[Positions]]:
    """The tensors that change, with their dimensions."""
    before, after = find_widths(step.before), find_widths(step.after)
    changed = [name for name, dims in before.dims.items() if after.dims[name] != dims]
    found: dict[str, list[Positions]] = {}
    for name in changed:
        sizes = step.before.tensors[name].shape
        dims = zip(before.dims[name], after.dims[name], sizes, strict=True)
        found[name] = [_positions(one, other, size) for one, other, size in dims]
    return found


def _positions(before: tuple[Segment, ...], after: tuple[Segment, ...], size: int) -> Positions:
    if not before:
        ones = torch.ones(size, dtype=torch.float64)
        return Positions(torch.arange(size), ones, ones, torch.zeros(size, dtype=torch.float64))
    parts = list[Positions]()
    start = 0
    for one, other in zip(before, after, strict=True):
        parts.append(_part(one, other, start))
        start += one.length
    columns = ([getattr(part, key) for part in parts] for key in ("origin", "factor", "gradient", "noise"))
    return Positions(*map(torch.cat, columns))


def _part(before: Segment, after: Segment, start: int) -> Positions:
    features = _features(before, after)
    counts = torch.bincount(features, minlength=before.size)[features].double()
    share = 1 / counts
    held = torch.ones_like(share)
    if before.axis == STREAM:
        held = (after.size / before.size / counts).sqrt()
    factor = {
        Role.WRITE: held,
        Role.NORM_BIAS: held,
        Role.READ: share / held,
        Role.LAST_BIAS: share / held,
        Role.GAIN: torch.ones_like(share),
        Role.LAST_GAIN: share / held.square(),
    }[before.role]
    noise = _noise(features) * share / held if before.role is Role.READ else torch.zeros_like(share)
    turns = torch.arange(after.outer)[:, None, None] * before.size
    places = (turns + features[None, :, None]) * before.inner + torch.arange(after.inner)
    spread = [each[None, :, None].expand(places.shape).flatten() for each in (factor, share / factor, noise)]
    return Positions(start + places.flatten(), *spread)


def _features(before: Segment, after: Segment) -> Tensor:
    """The feature that each comes from: round and round, and of query heads within those that share keys."""
    if not before.groups:
        return torch.arange(after.size) % before.size
    size, places = before.size // before.groups, after.size // after.groups
    heads = [
        group % before.groups * size + (group // before.groups * places + place) % size
        for group in range(after.groups)
        for place in range(places)
    ]
    return torch.tensor(heads)


def _noise(features: Tensor) -> Tensor:
    """From -1 to 1 over the copies of a feature."""
    parts = torch.zeros(len(features), dtype=torch.float64)
    for feature in features.unique():
        copies = (features == feature).nonzero().flatten()
        if len(copies) > 1:
            parts[copies] = torch.linspace(-1, 1, len(copies), dtype=torch.float64)
    return parts


def _weights(step: Step[Widening], name: str, dims: list[Positions], raised: bool) -> Told:
    def of(number: int) -> Value:
        value, factor = taken(step, name, dims, number), factors(dims, number, "factor")
        if step.operator.noise and len(dims) > 1 and any(dim.noise.any() for dim in dims):
            made = factor * value.wide + _cancelling(step, name, dims, number)
            return computed(made, f"{value.says}, with noise", made, value, gain=_most(factor))
        if bool((factor == 1).all()):
            return value
        made = factor * value.wide + (factor - 1 if raised else 0)
        return computed(made, f"{value.says}, multiplied", factor, value, gain=_most(factor))

    return Told(step.source.dtype(name), of)


def _most(factor: Tensor) -> float:
    return max(1.0, float(factor.max()))


def taken(step: Step[Any], name: str, dims: list[Positions], number: int) -> Value:
    """The numbers of the source that a row of a grown tensor comes from."""
    value = row(step.source, name, int(dims[0].origin[number]))
    found = value.tensor
    for along, dim in enumerate(dims[1:]):
        found = found.index_select(along, dim.origin)
    return moved(value, found)


def factors(dims: list[Positions], number: int, of: str) -> Tensor:
    """What a row of a grown tensor, or of its gradient, is multiplied by, of the shape of the row."""
    product: Tensor = getattr(dims[0], of)[number]
    for along, dim in enumerate(dims[1:]):
        product = product[..., None] * getattr(dim, of) if along else product * getattr(dim, of)
    return product


def _cancelling(step: Step[Widening], name: str, dims: list[Positions], number: int) -> Tensor:
    """Noise that is drawn for every feature that is read, as large as the weights' spread."""
    along = next(place for place, dim in enumerate(dims) if dim.noise.any())
    before = step.before.tensors[name].shape[along]
    shape = list(step.after.tensors[name].shape)
    shape[along] = before
    scale = step.operator.noise * step.once(f"{name}/std", lambda: std(step.source, name))
    drawn = int(dims[0].origin[number]) if along == 0 else number
    values = step.normal(f"{name}/noise", drawn, tuple(shape[1:])) * scale
    if along == 0:
        return values * dims[0].noise[number]
    signs = dims[along].noise.view([-1 if place == along else 1 for place in range(1, len(dims))])
    return values.index_select(along - 1, dims[along].origin) * signs

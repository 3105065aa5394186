"""Layers in another order: each has the tensors of the layer that it comes from, and a closed one some at nought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from growc.audit.rows import Told, row
from growc.audit.step import Reading, Step
from growc.audit.value import Value
from growc.model.closing import closing
from growc.model.layers import in_layer, layer_of


@dataclass(frozen=True)
class Part:
    """A tensor of a layer: what it is called in the source, and whether a layer before has come from the same one."""

    origin: str
    again: bool


def parts(step: Step[Any], order: Sequence[int]) -> dict[str, Part]:
    """The tensors of all layers of the grown model, whose layers come from those of the source in this order."""
    path = step.before.blocks.path
    found: dict[str, Part] = {}
    for name in step.after.tensors:
        layer = layer_of(path, name)
        if layer is not None:
            origin = order[layer]
            found[name] = Part(in_layer(path, name, origin), order.index(origin) < layer)
    return found


def read_layers(step: Step[Any], order: Sequence[int], start: str) -> Reading:
    """What layers hold that come from others in this order, with copies that `start` so."""
    closed = closing(step.before) if start == "closed" else {}
    return {
        name: _constant(step, name, closed[part.origin])
        if part.again and part.origin in closed
        else _moved(step, part.origin)
        for name, part in parts(step, order).items()
    }


def _moved(step: Step[Any], origin: str) -> Told:
    return Told(step.source.dtype(origin), lambda number: row(step.source, origin, number))


def _constant(step: Step[Any], name: str, number: float) -> Told:
    dtype, shape = step.fresh_dtype(name), step.after.tensors[name].shape[1:]
    return Told(dtype, lambda _: Value(torch.full(shape, number, dtype=dtype), f"{number:g}, which closes its layer"))


def without_state(step: Step[Any], order: Sequence[int], start: str, state: str) -> Mapping[str, bool]:
    """For every tensor of a layer whether it starts without an optimizer's state."""
    anew = start == "closed" or state != "copy"
    return {name: state == "reset" or (part.again and anew) for name, part in parts(step, order).items()}

"""What a tensor keeps of an optimizer's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from growc.audit.rows import Told
from growc.audit.value import Value, computed


@dataclass(frozen=True)
class Kept:
    """A tensor that keeps optimizer state: what its rows hold, and the tensor of the source whose steps it counts."""

    told: Told
    origin: str


Moments = Mapping[str, Kept | None]
"""For tensors of the grown model that do not keep the state of the source's as it is: what they keep, or None."""


def kept(row: Callable[[int], Value], origin: str) -> Kept:
    """State with these rows, in float32; whoever knows of another type replaces it."""
    return Kept(Told(torch.float32, row), origin)


def over(value: Value, by: int) -> Value:
    """Rows divided by a number."""
    return value if by == 1 else computed(value.wide / by, f"{value.says} / {by}", value)


def times(value: Value, by: int) -> Value:
    """Rows times a number."""
    return value if by == 1 else computed(value.wide * by, f"{by} times {value.says}", value, gain=by)


def nothing(value: Value) -> Value:
    """As many zeros, of whatever sign."""
    return computed(torch.zeros_like(value.wide), "zeros")

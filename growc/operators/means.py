"""Means over calibration text, as vectors that programs read when they are bound: mean tokens, and domains in them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MeanTokens:
    """For every layer that grows the mean of what enters its network, or its router, over `batches` of the data."""

    batches: int


def mean_token(layer: int) -> str:
    """What the mean token of a layer is called in programs."""
    return f"{layer}/mean_token"

"""Means over calibration text, which programs read as vectors once they are bound: mean tokens, and domains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MeanTokens:
    """For every layer that grows the mean of what enters its network, or its router, over `batches` of the data."""

    batches: int


@dataclass(frozen=True)
class Domains:
    """For every branch of a seed the mean of the seed's last hidden state over `batches` of the branch's own data.

    Branches are the states that are mixed but for the first one, and for the one numbered `seed`.
    """

    batches: int
    seed: int


Means = MeanTokens | Domains


def mean_token(layer: int) -> str:
    """What the mean token of a layer is called in programs."""
    return f"{layer}/mean_token"


def domain(parent: int) -> str:
    """What the embedding of the domain of a branch is called in programs, by the number of its state."""
    return f"domain/{parent}"

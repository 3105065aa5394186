"""Noise upcycling: every expert is the dense network with noise on a share of its weights."""

from __future__ import annotations

import torch

from growc.audit.readings.dense import Place, drawn_router, read_dense
from growc.audit.step import Reading, Step
from growc.audit.value import Value, computed
from growc.numerics.random import Stream
from growc.operators.noise_upcycling import NoiseUpcycling


def read(step: Step[NoiseUpcycling]) -> Reading:
    """See `growc.audit.readings`."""
    how = step.operator

    def expert(place: Place, number: int) -> Value:
        own = place.expert()
        size = own.tensor.numel()
        order = Stream(step.seed_of(f"{place.name}/where"), number).permutation(size)
        chosen = torch.zeros(size, dtype=torch.bool)
        chosen[order[: round(how.fraction * size)]] = True
        noise = how.std * step.normal(place.name, number, place.shape) * chosen.view(place.shape)
        return computed(own.wide + noise, f"{own.says} with noise on {how.fraction:g} of its weights", own, noise)

    return read_dense(step, expert, drawn_router(step))

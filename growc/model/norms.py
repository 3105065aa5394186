"""Norms, told by what they do with numbers and never by their names."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter, signature

import torch
from torch import Tensor, nn

STARTS = (0.0, -1.0)
"""Values of a gain at which a norm gives nought: some families store what is above 1."""


VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Norm:
    """A module that normalises the last dimension of what it is given.

    `gain` is its parameter that scales each feature, by `stored - start`, and `bias` that which is added to each, if
    there is one. With `centred` the mean is subtracted first.
    """

    gain: str
    bias: str | None
    start: float
    centred: bool


def norm_of(module: nn.Module, parameters: Mapping[str, Tensor], width: int) -> Norm | None:
    """What a module of so many features is as a norm; None if it is none.

    Args:
        module: on any device; it is tried on the CPU, with numbers of float64.
        parameters: its own.
        width: length of the last dimension of what it is given.
    """
    if not 1 <= len(parameters) <= 2 or any(parameter.shape != (width,) for parameter in parameters.values()):
        return None
    if not _takes_one(module):
        return None
    real = copy.deepcopy(module).to_empty(device="cpu").double()

    def gives(values: Mapping[str, float], shift: float = 0.0) -> Tensor:
        with torch.no_grad():
            for name, number in values.items():
                real.get_parameter(name).fill_(number)
            given = torch.linspace(1, 2, width, dtype=torch.float64)[None, None] + shift
            return real(given).squeeze()

    for start in STARTS:
        for gain in parameters:
            rest = {name: 0.0 for name in parameters if name != gain}
            if gives({gain: start, **rest}).any():
                continue
            scaled = gives({gain: start + 1, **rest})
            if torch.allclose(scaled, scaled[0].expand_as(scaled)):  # all alike: what was filled is a bias
                continue
            centred = bool(torch.allclose(scaled, gives({gain: start + 1, **rest}, shift=3.0), atol=1e-6))
            return Norm(gain, next(iter(rest), None), start, centred)
    return None


def _takes_one(module: nn.Module) -> bool:
    """Whether a module takes one tensor, and nothing else: a norm with a gate is none of those that are known."""
    given = [one for one in signature(module.forward).parameters.values() if one.kind not in VARIADIC]
    return len(given) == 1

"""Norms are told by what they do with numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from growc.model.norms import Norm, norm_of

WIDTH = 8


class LessOne(nn.Module):
    """A gain that is stored less 1, as Gemma's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + self.weight)


class Gated(nn.RMSNorm):
    """One that wants a gate, though it has a default that does not work."""

    def __init__(self) -> None:
        super().__init__(WIDTH)

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        assert gate is not None
        return super().forward(x * gate)


class Shift(nn.Module):
    """A bias alone."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


@pytest.mark.parametrize(
    ("module", "norm"),
    [
        (nn.RMSNorm(WIDTH), Norm("weight", None, 0.0, centred=False)),
        (nn.LayerNorm(WIDTH), Norm("weight", "bias", 0.0, centred=True)),
        (nn.LayerNorm(WIDTH, bias=False), Norm("weight", None, 0.0, centred=True)),
        (LessOne(), Norm("weight", None, -1.0, centred=False)),
        (Gated(), None),
        (Shift(), None),
        (nn.Linear(WIDTH, WIDTH), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_norm_is_told_by_what_it_does(module: nn.Module, norm: Norm | None) -> None:
    assert norm_of(module, dict(module.named_parameters()), WIDTH) == norm

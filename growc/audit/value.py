"""What rows of a tensor must hold: moved bits, or numbers up to rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 2.0**-20
"""How far a computed number may be off before it is rounded to its dtype, in units of the largest numbers that go in.

Growth computes in float32 at least, whose products and sums are each off by 2^-24 of what goes in; this leaves room for
sixteen of them. Added to it is half of the distance between two numbers of the stored dtype, and nothing else.
"""


@dataclass(frozen=True)
class Value:
    """Rows of one tensor, of shape (rows, ...) or (...).

    Without a `slack` they are moved: bit by bit these. With one they are computed: `tensor` has them in float64, and
    each may be off by `slack` (of the same shape) before it is rounded to its dtype. `says` is what they are, for
    people.
    """

    tensor: Tensor
    says: str
    slack: Tensor | None = None

    @property
    def wide(self) -> Tensor:
        """The same in float64."""
        return self.tensor.double()

    def at(self, row: int) -> Value:
        """One of the rows."""
        return Value(self.tensor[row], self.says, None if self.slack is None else self.slack[row])

    def stored(self, dtype: torch.dtype) -> Value:
        """What a later growth reads of them: rounded to `dtype`, which way is open only beside a midpoint."""
        if self.slack is None:
            return self
        low, high = (self.tensor - self.slack).to(dtype), (self.tensor + self.slack).to(dtype)
        rounded = self.tensor.to(dtype)
        if torch.equal(low, high) and bool(rounded.all()):  # a zero may have either sign
            return Value(rounded, self.says)
        return Value(rounded.double(), self.says, high.double() - low.double())


def moved(value: Value, tensor: Tensor) -> Value:
    """Numbers of `value` in other places; `tensor` holds them."""
    if value.slack is None:
        return Value(tensor, value.says)
    return Value(tensor, value.says, torch.full_like(tensor, _largest(value.slack), dtype=torch.float64))


def computed(tensor: Tensor, says: str, *inputs: Value | Tensor | float, gain: float | None = None) -> Value:
    """Numbers that follow from others.

    Args:
        tensor: in float64.
        says: for people.
        inputs: the terms of a sum, or whatever else goes in; what is a scaled copy is given scaled.
        gain: how many times as large an error of an input may become, anywhere in the result. Without one, every number
            follows from those in its own place, and is not more wrong than they are; so does it where it follows from
            inputs of other shapes, as wrong as any of them.
    """
    size = sum(_largest(x.tensor if isinstance(x, Value) else x) for x in inputs)
    slack = torch.full_like(tensor, ROUNDING * max(size, _largest(tensor)))
    for x in inputs:
        if isinstance(x, Value) and x.slack is not None:
            here = gain is None and x.slack.shape == tensor.shape
            slack += x.slack if here else (gain or 1.0) * _largest(x.slack)
    return Value(tensor, says, slack)


def stacked(values: Sequence[Value]) -> Value:
    """Rows, one below the other."""
    if all(value.slack is None for value in values):
        return Value(torch.stack([value.tensor for value in values]), values[0].says)
    slacks = [torch.zeros_like(value.wide) if value.slack is None else value.slack for value in values]
    return Value(torch.stack([value.wide for value in values]), values[0].says, torch.stack(slacks))


def difference(found: Tensor, wanted: Value) -> int | None:
    """The number of the first element of `found` that is not what it must be, counted through all; None if all are."""
    if wanted.slack is None:
        bits = _bits(found), _bits(wanted.tensor)
        if torch.equal(*bits):
            return None
        wrong = (bits[0] != bits[1]).view(found.numel(), -1).any(dim=1)
    else:
        wrong = ~_is_near(found.flatten(), wanted.tensor.flatten(), wanted.slack.flatten())
    places = wrong.nonzero()
    return int(places[0]) if len(places) else None


def _is_near(found: Tensor, exact: Tensor, slack: Tensor) -> Tensor:
    rounded, wide = exact.to(found.dtype), found.double()
    same = (found == rounded) | (wide.isnan() & exact.isnan())
    return same | ((wide - exact).abs() <= _half_steps(exact, found.dtype) + slack)


def _half_steps(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """Half of the distance between the numbers of `dtype` around each of these."""
    limits = torch.finfo(dtype)
    exponents = torch.frexp(exact).exponent.double()  # |x| is in [2^(e-1), 2^e)
    steps = limits.eps * 2.0 ** (exponents - 2) * (exact != 0)
    return steps.clamp(min=limits.tiny * limits.eps / 2)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def _largest(value: Tensor | float) -> float:
    if not isinstance(value, Tensor):
        return abs(value)
    return float(value.double().abs().nan_to_num().max()) if value.numel() else 0.0

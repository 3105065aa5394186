"""What is orthogonal to its source."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from growc.numerics.functions.function import Parameters, matrices
from growc.numerics.random import Stream


def orthogonal(rows: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """A random row orthogonal to the first input, of the same norm; each matrix of an expert apart, as a long vector.

    What is zero, or a single number, stays: nothing else has its norm, or is orthogonal to it.
    """
    (row,) = rows
    result = row.clone()
    for own in matrices(result, parameters):
        drawn = stream.normal(*own.shape).to(own.device)
        if own.any() and own.numel() > 1:
            drawn -= own * ((drawn * own).sum() / own.square().sum())
            own.copy_(drawn * (own.norm() / drawn.norm()))
    return result

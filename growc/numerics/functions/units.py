"""What acts on the intermediate units of an expert: one index set for all of its tensors.

The set is the first thing drawn from a stream, and all tensors of an expert share their seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from growc.numerics.functions.function import Parameters, matrices
from growc.numerics.random import Stream


def shuffle(rows: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """The units in another order."""
    (row,) = rows
    result = row.clone()
    order: Tensor | None = None
    for own in matrices(result, parameters):
        order = stream.permutation(len(own)) if order is None else order
        own.copy_(own[order.to(own.device)])
    return result


def drop_units(rows: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """`fraction` of the units of the first input drawn anew, from the standard normal values of the second.

    With `fresh: normal` what is replaced in a matrix keeps its mean and its standard deviation. Else its mean is 0 and
    its variance 2 / (fan_in + fan_out) for `xavier` and 2 / fan_in for `kaiming`, with the fans of the whole matrix:
    (stream, units), or (units, stream) where it is `down`. Biases have no fans, and become 0. With `apart` every
    matrix has units of its own drawn anew.
    """
    row, noise = rows
    result = row.clone()
    chosen = _dropped(row, parameters, stream)
    for number, (own, drawn) in enumerate(zip(matrices(result, parameters), matrices(noise, parameters), strict=True)):
        if number and parameters.get("apart"):
            chosen = _dropped(row, parameters, stream)
        mean, std = _statistics(own, chosen, parameters)
        own[chosen] = mean + std * drawn[chosen]
    return result


def noise_on_some(rows: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """The first input with the second added to a share of `fraction` of its elements, drawn one by one."""
    row, noise = rows
    chosen = stream.permutation(row.numel())[: round(float(parameters["fraction"]) * row.numel())].to(row.device)
    result = row.clone()
    result.view(-1)[chosen] += noise.reshape(-1)[chosen]
    return result


def keep_units(rows: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """The first input with zeros for the units that `drop_units` draws anew."""
    (row,) = rows
    result = row.clone()
    chosen = _dropped(row, parameters, stream)
    for own in matrices(result, parameters):
        own[chosen] = 0
    return result


def _dropped(row: Tensor, parameters: Parameters, stream: Stream) -> Tensor:
    """Which units: at least one."""
    units = len(matrices(row, parameters)[0])
    count = max(1, round(float(parameters["fraction"]) * units))
    return stream.permutation(units)[:count].to(row.device)


def _statistics(own: Tensor, chosen: Tensor, parameters: Parameters) -> tuple[float, float]:
    if parameters["fresh"] == "normal":
        return float(own[chosen].mean()), float(own[chosen].std(correction=0))
    if own.dim() == 1:
        return 0.0, 0.0
    units, stream = own.shape
    fan_in, fan_out = (units, stream) if parameters["down"] else (stream, units)
    return 0.0, (2 / (fan_in + fan_out if parameters["fresh"] == "xavier" else fan_in)) ** 0.5

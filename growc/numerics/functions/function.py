"""What a function of rows is, and how it finds the matrices in an expert's tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from growc.numerics.random import Stream

Parameters = Mapping[str, float | int | str]
Function = Callable[[Sequence[Tensor], Parameters, Stream], Tensor]


def matrices(row: Tensor, parameters: Parameters) -> tuple[Tensor, ...]:
    """The matrices of one expert that lie in one tensor, as views of it: one, or gate and up.

    Each has the intermediate units along dimension 0: shape (units, stream), or (units,) for a bias. Without a layout
    (`growc.operators.experts.expert_init.layout`) among the parameters, the whole row is one.
    """
    if "times" not in parameters:
        return (row,)
    times = int(parameters["times"])
    units = row.movedim(int(parameters["dim"]), 0)
    if parameters["interleaved"]:
        return units.unflatten(0, (-1, times)).unbind(1)
    return units.unflatten(0, (times, -1)).unbind(0)

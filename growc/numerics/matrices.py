"""The functions that programs apply to whole tensors: each takes a matrix in float64 and gives one of the same shape.

They are computed on the CPU by one thread, for small tensors that every rank has gathered, so that a row has the same
bytes wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor

from growc.numerics.functions.function import Parameters
from growc.numerics.random import Stream
from growc.numerics.svd import perturbed

Matrix = Callable[[Tensor, Parameters, Stream], Tensor]


def mean(matrix: Tensor, _: Parameters, __: Stream) -> Tensor:
    """Every row the mean of all rows."""
    return matrix.mean(dim=0, keepdim=True).expand_as(matrix)


def svd_perturb(matrix: Tensor, parameters: Parameters, stream: Stream) -> Tensor:
    """Noise on singular values and vectors: see `growc.numerics.svd.perturbed`."""
    values, vectors = float(parameters["values"]), float(parameters["vectors"])
    return perturbed(matrix, stream, values=values, vectors=vectors, unit=str(parameters["unit"]))


MATRICES: dict[str, Matrix] = {"mean": mean, "svd_perturb": svd_perturb}
"""Name in a program -> function."""


@contextmanager
def one_thread() -> Generator[None]:
    """Within: sums are taken in one order, however many threads the process has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

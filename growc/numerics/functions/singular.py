"""What acts on the singular values and vectors of an expert's matrices, each matrix apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from growc.numerics.functions.function import Parameters, matrices
from growc.numerics.random import Stream
from growc.numerics.svd import composed, decomposed, orthonormal, perturbed


def svd_perturb(rows: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """Noise on singular values and vectors: see `growc.numerics.svd.perturbed`."""
    (row,) = rows
    values, vectors, drop = (float(parameters[key]) for key in ("values", "vectors", "drop"))
    unit, rank, result = str(parameters["unit"]), _rank(parameters), row.clone()
    for own in matrices(result, parameters):
        own.copy_(perturbed(own, stream, values=values, vectors=vectors, unit=unit, drop=drop, rank=rank))
    return result


def svd_mix(rows: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """A hybrid of two experts: every k-th singular value and pair of vectors is (1 - `ratio`) own + `ratio` other.

    A pair of vectors may be turned round, (u, v) to (-u, -v), without changing its expert, so the other's pairs are
    turned to lie on the own one's side. With a `rank`, what lies beyond that many pairs is mixed as it is.
    """
    first, second = rows
    ratio, rank, result = float(parameters["ratio"]), _rank(parameters), first.clone()
    for own, other in zip(matrices(result, parameters), matrices(second, parameters), strict=True):
        (u, s, v), (u2, s2, v2) = (decomposed(x, rank, stream) for x in (own, other))
        side = torch.where((u * u2).sum(dim=0) + (v * v2).sum(dim=0) < 0, -1.0, 1.0)
        rest = None
        if len(s) < min(own.shape):
            rest = (1 - ratio) * (own - composed(u, s, v)) + ratio * (other - composed(u2, s2, v2))
        u, s, v = (a + ratio * (b - a) for a, b in ((u, side * u2), (s, s2), (v, side * v2)))
        mixed = composed(orthonormal(u), s, orthonormal(v))
        own.copy_(mixed if rest is None else mixed + rest)
    return result


def _rank(parameters: Parameters) -> int | None:
    return int(parameters["rank"]) if "rank" in parameters else None

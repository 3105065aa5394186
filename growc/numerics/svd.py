"""Singular values and vectors of matrices, and how they are moved: W = U diag(s) V^T in float64.

Vectors that were moved are made orthonormal again from the largest singular value down (Gram-Schmidt), so that a
direction that matters more gives way less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from growc.numerics.random import Stream
from growc.operators.work import ITERATIONS, OVERSAMPLED


def decomposed(matrix: Tensor, rank: int | None, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
    """U of shape (rows, k), s of shape (k,), falling, and V of shape (columns, k), k = min(rows, columns, `rank`).

    With a rank below the matrix's sides they are approximate, and drawn for: a randomised decomposition by subspace
    iteration (Halko, Martinsson and Tropp, SIAM Review 53, 2011, Algorithms 4.4 and 5.1). In expectation its basis
    misses at most c s_(k+1) of the matrix in the spectral norm, where c is about 3 for k = 64 of 4096 (their Corollary
    10.10) and near 1 in practice. Where the next singular value is much smaller, vectors are those of the exact one;
    where it is not, they are a mixture of those near the end.
    """
    if rank is None or rank >= min(matrix.shape):
        return _all(matrix)
    sketch = stream.normal(matrix.shape[1], min(rank + OVERSAMPLED, *matrix.shape)).to(matrix.device)
    basis = orthonormal(matrix @ sketch)
    for _ in range(ITERATIONS):
        basis = orthonormal(matrix @ orthonormal(matrix.T @ basis))
    u, s, v = _all(basis.T @ matrix)
    return basis @ u[:, :rank], s[:rank], v[:, :rank]


def _all(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if matrix.shape[0] < matrix.shape[1]:  # three times as fast the other way round
        v, s, u = _all(matrix.T)
        return u, s, v
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u, s, vh.T


def composed(u: Tensor, s: Tensor, v: Tensor) -> Tensor:
    """The matrix of what `decomposed` gives."""
    return (u * s) @ v.T


def orthonormal(vectors: Tensor) -> Tensor:
    """The columns made orthonormal, from the first on.

    A QR decomposition is free to turn a vector round, which is undone: a vector of U turned without its partner of V
    would change the sign of a whole component.
    """
    q, r = torch.linalg.qr(vectors)
    return q * torch.where(r.diagonal() < 0, -1.0, 1.0)


def perturbed(
    matrix: Tensor,
    stream: Stream,
    *,
    values: float,
    vectors: float,
    unit: str,
    drop: float = 0.0,
    rank: int | None = None,
) -> Tensor:
    """U' diag(s') V'^T with s' = s (1 + `values` e), U' = orthonormal(U + `vectors` N), V' alike, e and N normal.

    The entries of N have a standard deviation of 1 (`unit` absolute) or 1/sqrt(length of a vector) (std), which makes
    its columns as long as the vectors are. Of the singular values the share `drop`, smallest first, becomes 0. With a
    `rank` that many of the largest are moved, and the rest of the matrix is added as it is.
    """
    u, s, v = decomposed(matrix, rank, stream)
    rest = matrix - composed(u, s, v) if len(s) < min(matrix.shape) else None
    s = s * (1 + values * _normal(s, stream)).clamp(min=0)
    s[len(s) - round(drop * len(s)) :] = 0

    def moved(x: Tensor) -> Tensor:
        scale = vectors if unit == "absolute" else vectors / len(x) ** 0.5
        return orthonormal(x + scale * _normal(x, stream))

    result = composed(moved(u), s, moved(v))
    return result if rest is None else result + rest


def _normal(like: Tensor, stream: Stream) -> Tensor:
    return stream.normal(*like.shape).to(like.device)

"""The truncated, randomised decomposition against the exact one."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from growc.numerics.random import Stream
from growc.numerics.svd import composed, decomposed, perturbed

sides = st.integers(20, 90)
ranks = st.integers(1, 8)
seeds = st.integers(0, 10**6)
by = settings(deadline=None, max_examples=30)


def normal(*shape: int, seed: int) -> Tensor:
    return Stream("test", seed).normal(*shape)


def of_rank(rows: int, columns: int, rank: int, seed: int) -> Tensor:
    return normal(rows, rank, seed=seed) @ normal(columns, rank, seed=seed + 1).T


def is_orthonormal(vectors: Tensor) -> bool:
    return torch.allclose(vectors.T @ vectors, torch.eye(vectors.shape[1], dtype=vectors.dtype), atol=1e-10)


@by
@given(rows=sides, columns=sides, rank=ranks, seed=seeds)
def test_a_matrix_of_low_rank_is_decomposed_exactly(rows: int, columns: int, rank: int, seed: int) -> None:
    matrix = of_rank(rows, columns, rank, seed)
    u, s, v = decomposed(matrix, rank, Stream("sketch", seed))
    exact_u, exact_s, exact_v = decomposed(matrix, None, Stream("", 0))
    assert u.shape == (rows, rank)
    assert v.shape == (columns, rank)
    torch.testing.assert_close(s, exact_s[:rank])
    assert is_orthonormal(u)
    assert is_orthonormal(v)
    torch.testing.assert_close(composed(u, s, v), matrix)
    # Singular vectors of a simple value are unique up to a sign that a pair shares.
    side = (u * exact_u[:, :rank]).sum(0).sign()
    torch.testing.assert_close(composed(u * side, s, exact_v[:, :rank]), matrix, atol=1e-6, rtol=1e-6)


@by
@given(rows=sides, columns=sides, rank=ranks, seed=seeds)
def test_what_it_misses_of_any_matrix_is_near_the_least_that_can_be(
    rows: int, columns: int, rank: int, seed: int
) -> None:
    matrix = normal(rows, columns, seed=seed)  # singular values that fall slowly: the hardest case
    exact = torch.linalg.svdvals(matrix)
    u, s, v = decomposed(matrix, rank, Stream("sketch", seed))
    assert (s <= exact[:rank] * (1 + 1e-12)).all()
    assert (s >= exact[:rank] * 0.8).all()
    missed = torch.linalg.matrix_norm(matrix - composed(u, s, v), 2)
    assert float(missed) < 1.5 * float(exact[rank])


@by
@given(rows=sides, columns=sides, decay=st.floats(0.2, 0.5), rank=ranks, seed=seeds)
def test_where_singular_values_fall_fast_it_is_the_exact_one(
    rows: int, columns: int, decay: float, rank: int, seed: int
) -> None:
    u, _, v = decomposed(normal(rows, columns, seed=seed), None, Stream("", 0))
    matrix = composed(u, decay ** torch.arange(u.shape[1], dtype=torch.float64), v)
    found_u, s, found_v = decomposed(matrix, rank, Stream("sketch", seed))
    torch.testing.assert_close(s, decay ** torch.arange(rank, dtype=torch.float64), rtol=1e-5, atol=1e-12)
    for found, true in ((found_u, u), (found_v, v)):
        assert ((found * true[:, :rank]).sum(0).abs() > 1 - 1e-5).all()


@by
@given(rows=st.integers(3, 40), columns=st.integers(3, 40), seed=seeds)
def test_the_exact_one_is_the_same_either_way_round(rows: int, columns: int, seed: int) -> None:
    matrix = normal(rows, columns, seed=seed)
    u, s, v = decomposed(matrix, None, Stream("", 0))
    assert u.shape == (rows, min(rows, columns))
    assert (s.diff() <= 0).all()
    assert is_orthonormal(u)
    assert is_orthonormal(v)
    torch.testing.assert_close(composed(u, s, v), matrix)


@by
@given(rows=sides, columns=sides, rank=ranks, seed=seeds)
def test_a_matrix_of_low_rank_is_moved_as_all_of_it_is(rows: int, columns: int, rank: int, seed: int) -> None:
    """Its column space and row space stay where no vector moves, and its size changes as it would."""
    matrix = of_rank(rows, columns, rank, seed)
    moved = perturbed(matrix, Stream("noise", seed), values=0.05, vectors=0.0, unit="std", rank=rank)
    u, s, v = decomposed(matrix, rank, Stream("", 0) if rank >= min(rows, columns) else Stream("sketch", 0))
    inner = u.T @ moved @ v
    torch.testing.assert_close(composed(u, torch.ones_like(s), u) @ moved, moved)
    torch.testing.assert_close(inner, inner.diagonal().diag(), atol=1e-6 * float(s[0]), rtol=0)
    assert ((inner.diagonal() / s - 1).abs() < 0.05 * 6).all()

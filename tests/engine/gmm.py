"""A stand-in for the library grouped-gemm, which runs on GPUs alone: its interface, and the demands that it makes."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

seen: list[list[int]] = []
"""Counts of rows by expert that it was called with."""


def gmm(a: Tensor, b: Tensor, batch_sizes: Tensor, trans_b: bool = False) -> Tensor:
    """Rows of `a` times the matrix of `b` of their group."""
    assert a.is_contiguous()
    assert b.is_contiguous()
    assert a.dtype == b.dtype
    assert (batch_sizes.dtype, batch_sizes.device.type, len(batch_sizes)) == (torch.int64, "cpu", len(b))
    assert int(batch_sizes.sum()) == len(a)
    seen.append(batch_sizes.tolist())
    matrices = b.transpose(1, 2) if trans_b else b
    return torch.cat([rows @ m for rows, m in zip(a.split(batch_sizes.tolist()), matrices, strict=True)])


@contextmanager
def library() -> Generator[None]:
    """Within, it can be imported."""
    package, ops = ModuleType("grouped_gemm"), ModuleType("grouped_gemm.ops")
    named: Any = ops
    named.gmm = gmm
    seen.clear()
    sys.modules |= {"grouped_gemm": package, "grouped_gemm.ops": ops}
    try:
        yield
    finally:
        del sys.modules["grouped_gemm"], sys.modules["grouped_gemm.ops"]

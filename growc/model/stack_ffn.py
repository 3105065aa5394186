"""Matrices of a dense feed-forward network, put together as those of one expert."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from growc.programs import AsExperts


def fused(matrices: Sequence[Tensor], how: AsExperts) -> Tensor:
    """One row of `how`, from one share of each of its parts."""
    scaled = [m * by for m, by in zip(matrices, how.scales, strict=True)] if how.scales else matrices
    turned = [m if m.dim() == 1 or how.along in (None, how.dim) else m.T for m in scaled]
    if how.interleaved:
        return torch.stack(turned, dim=how.dim + 1).flatten(how.dim, how.dim + 1)
    return torch.cat(turned, dim=how.dim) if len(turned) > 1 else turned[0]

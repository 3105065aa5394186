"""Interpolation on the sphere (Shoemake, SIGGRAPH 1985) of several tensors, each seen as one vector.

All that it takes are their inner products: every step on the sphere is a sum of the tensors with factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_SINE = 1e-6
"""Vectors at an angle with a smaller sine lie on one line: they are averaged."""


def products(tensors: Sequence[Tensor]) -> Tensor:
    """The inner products of tensors, of shape (tensors, tensors), in float64 on the CPU."""
    result = torch.empty(len(tensors), len(tensors), dtype=torch.float64)
    for i, one in enumerate(tensors):
        for j, other in enumerate(tensors[: i + 1]):
            result[i, j] = result[j, i] = (one.double() * other.double()).sum()
    return result


def shares(gram: Tensor) -> list[float]:
    """The factors of tensors with these inner products, so that all count alike.

    Vector k is reached from what has been made of those before it by 1 / k of the angle between them.
    """
    made = torch.zeros(len(gram), dtype=torch.float64)
    made[0] = 1.0
    for k in range(1, len(gram)):
        step = 1 / (k + 1)
        length, other = float(made @ gram @ made) ** 0.5, float(gram[k, k]) ** 0.5
        cosine = float(made @ gram[k]) / (length * other) if length * other else 1.0
        angle = math.acos(max(-1.0, min(1.0, cosine)))
        if math.sin(angle) < LEAST_SINE:
            before, share = 1 - step, step
        else:
            before, share = (math.sin(part * angle) / math.sin(angle) for part in (1 - step, step))
        made *= before
        made[k] = share
    return made.tolist()

"""Tensor programs on real tensors, row by row.

Rows (dimension 0) are asked for by index, so an executor computes just the rows it holds, wherever the source's rows
live: `fetch` may read memory, a file, or another rank.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from growc.programs import Add, Expr, Init, Scale, Source, Std, Take


class Fetch(Protocol):
    """Where rows of source tensors come from."""

    def rows(self, name: str, index: Tensor) -> Tensor:
        """Rows `index` (a 1-D tensor of row numbers) of source tensor `name`; a 0-D tensor comes as it is."""
        ...

    def std(self, name: str) -> float:
        """Standard deviation over all elements of source tensor `name`."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Source tensors of this process, whole."""

    tensors: dict[str, Tensor]

    def rows(self, name: str, index: Tensor) -> Tensor:
        """See `Fetch.rows`."""
        tensor = self.tensors[name]
        return tensor[index] if tensor.dim() else tensor.clone()

    def std(self, name: str) -> float:
        """See `Fetch.std`."""
        return float(self.tensors[name].double().std(correction=0))


def evaluate(expr: Expr, index: Tensor, fetch: Fetch, dtype: torch.dtype) -> Tensor:
    """Rows `index` of what `expr` describes.

    Args:
        expr: a program whose late vectors are bound.
        index: row numbers, a 1-D integer tensor on the device of the result.
        fetch: where source rows come from.
        dtype: of fresh values; source values keep theirs.
    """
    match expr:
        case Source(name):
            return fetch.rows(name, index)
        case Take(x, rows):
            assert isinstance(rows, tuple)
            return evaluate(x, torch.tensor(rows, device=index.device)[index], fetch, dtype)
        case Scale(x, by):
            value = evaluate(x, index, fetch, dtype)
            match by:
                case Std(source):
                    return value * fetch.std(source.name)
                case tuple():
                    factors = torch.tensor(by, dtype=value.dtype, device=value.device)[index]
                    return value * factors.view(-1, *(1 for _ in value.shape[1:]))
                case _:
                    assert isinstance(by, (int, float))
                    return value * by
        case Add(x, y):
            return evaluate(x, index, fetch, dtype) + evaluate(y, index, fetch, dtype)
        case Init():
            return _draw(expr, index, dtype)


def _draw(init: Init, index: Tensor, dtype: torch.dtype) -> Tensor:
    rows = [_draw_row(init, int(row)) for row in index.tolist()]
    shape = (len(rows), *init.shape[1:])
    values = torch.stack(rows).view(shape) if rows else torch.zeros(shape, dtype=torch.float64)
    return values.to(device=index.device, dtype=dtype)


def _draw_row(init: Init, row: int) -> Tensor:
    width = init.shape[1:]
    if init.distribution == "zeros":
        return torch.zeros(width, dtype=torch.float64)
    key = hashlib.sha256(f"{init.seed}/{row}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little", signed=False) % 2**63)
    if init.distribution == "normal":
        return torch.randn(width, generator=generator, dtype=torch.float64) * init.scale
    return (torch.rand(width, generator=generator, dtype=torch.float64) * 2 - 1) * init.scale

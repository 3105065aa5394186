"""Tensors of a grown model, computed one at a time when asked for, from wherever the tensors before come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from growc.growth.evaluate import Fetch, InMemory, evaluate
from growc.growth.rewrite import Rewrite
from growc.model import ModelGraph
from growc.operators.operator import Replicas
from growc.operators.sites import MoeSite
from growc.programs import Expr, Source, Take, sources

ROWS_AT_ONCE = 8
"""Experts whose squares are summed at a time: float64 copies stay small."""


class Tensors(Fetch, Protocol):
    """A `Fetch` that knows the dtype of each tensor without reading it."""

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of tensor `name`."""
        ...


@dataclass(frozen=True)
class Grown:
    """The tensors after `rewrite`, whose late vectors are bound; a `Tensors` itself, so that growths can be chained.

    Rows that only move keep their bytes. Sums and products are computed in float32 or wider and rounded once to the
    dtype of their source.
    """

    rewrite: Rewrite
    before: Tensors

    def dtype(self, name: str) -> torch.dtype:
        """See `Tensors.dtype`."""
        read = sorted(sources(self.rewrite.programs[name]))
        assert read, f"the program of {name} reads no tensor of the source"
        return self.before.dtype(name if name in read else read[0])

    def rows(self, name: str, index: Tensor) -> Tensor:
        """See `Fetch.rows`."""
        program, dtype = self.rewrite.programs[name], self.dtype(name)
        if _moves_rows(program):
            return evaluate(program, index, self.before, dtype)
        wide = torch.promote_types(dtype, torch.float32)
        return evaluate(program, index, _Widened(self.before, wide), wide).to(dtype)

    def std(self, name: str) -> float:
        """See `Fetch.std`."""
        return InMemory({name: self.whole(name)}).std(name)

    def whole(self, name: str) -> Tensor:
        """All rows of tensor `name`."""
        return self.rows(name, torch.arange(rows_of(self.rewrite.grown, name)))


@dataclass(frozen=True)
class _Widened:
    fetch: Fetch
    dtype: torch.dtype

    def rows(self, name: str, index: Tensor) -> Tensor:
        return self.fetch.rows(name, index).to(self.dtype)

    def std(self, name: str) -> float:
        return self.fetch.std(name)


def rows_of(graph: ModelGraph, name: str) -> int:
    """Length of dimension 0 of a tensor; a scalar counts as one row."""
    return graph.tensors[name].shape[0] if graph.tensors[name].shape else 1


def weight_norms(tensors: Tensors, sites: tuple[MoeSite, ...]) -> dict[int, tuple[float, ...]]:
    """||w|| of every expert, over all its tensors, by layer: the score `weight_norm`.

    See arXiv 2604.19835, Section 3.3.
    """
    norms: dict[int, tuple[float, ...]] = {}
    for site in sites:
        squares = torch.zeros(site.num_experts, dtype=torch.float64)
        for name in site.expert_tensors:
            for index in torch.arange(site.num_experts).split(ROWS_AT_ONCE):
                squares[index] += tensors.rows(name, index).double().flatten(1).square().sum(dim=1)
        norms[site.layer] = tuple(squares.sqrt().tolist())
    return norms


def allocated(rewrite: Rewrite, scores: dict[int, tuple[float, ...]]) -> dict[int, Replicas]:
    """Replicas of every grown layer; `scores` is empty where the allocation needs none."""
    return {site.layer: rewrite.operator.allocate(site, scores.get(site.layer)) for site in rewrite.sites}


def _moves_rows(program: Expr) -> bool:
    match program:
        case Source():
            return True
        case Take(x, _):
            return _moves_rows(x)
        case _:
            return False

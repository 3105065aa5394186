"""Tensors of a grown model, computed one at a time when asked for, from wherever the tensors before come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import MoeSite
from growc.growth.rewrite import Rewrite
from growc.numerics.evaluate import Fetch, InMemory, evaluate
from growc.numerics.units import over_units
from growc.operators.facets import measure_of
from growc.operators.matching import ByActivations
from growc.operators.means import Means
from growc.operators.measures import Ranking, needs
from growc.operators.scores import combined, drawn, parts
from growc.operators.selection import ByReconstruction
from growc.operators.sensitivity import BySensitivity
from growc.operators.sensitivity import drawn as drawn_units
from growc.programs import Expr, Pick, Source, Take, sources

ROWS_AT_ONCE = 8
"""Experts whose squares are summed at a time: float64 copies stay small."""


class Tensors(Fetch, Protocol):
    """A `Fetch` that knows the dtype of each tensor without reading it."""

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of tensor `name`."""
        ...


@dataclass(frozen=True)
class Grown:
    """The tensors after `rewrite`, whose deferred vectors are bound.

    It is a `Tensors` itself, so that growths can be chained.

    Rows that only move keep their bytes. Sums and products are computed in float32 or wider and rounded once to the
    dtype of their source.
    """

    rewrite: Rewrite
    before: Tensors

    def dtype(self, name: str) -> torch.dtype:
        """See `Tensors.dtype`."""
        read = sorted(sources(self.rewrite.programs[name]))
        if not read:  # drawn anew: whole numbers as the model has them, all others as the source's weights are
            drawn: torch.dtype = getattr(torch, self.rewrite.grown.tensors[name].dtype)
            if not drawn.is_floating_point:
                return drawn
            read = [max(self.rewrite.source.tensors.values(), key=lambda tensor: tensor.size).name]
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


def chain(grown: Grown) -> list[Rewrite]:
    """The growths, the first one first."""
    before = chain(grown.before) if isinstance(grown.before, Grown) else []
    return [*before, grown.rewrite]


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


def weight_scores(rewrite: Rewrite, tensors: Tensors) -> dict[int, tuple[float, ...]]:
    """The scores by layer of a measure that needs no run, the same as in a run; none where nothing is measured."""
    measure = measure_of(rewrite.operator)
    if measure is None:
        return {}
    assert not needs(measure)
    assert not isinstance(measure, ByReconstruction | ByActivations | Means)
    return {site.layer: _scores(rewrite, site, measure, tensors) for site in rewrite.mixtures}


def _scores(rewrite: Rewrite, site: MoeSite, measure: Ranking | BySensitivity, tensors: Tensors) -> tuple[float, ...]:
    if isinstance(measure, BySensitivity):
        if measure.score == "random":
            return drawn_units(site, rewrite.seed)
        return _unit_norms(tensors, rewrite.source, site)
    if measure.score == "random":
        return drawn(site, rewrite.seed)
    return combined(measure.over, [_norms(tensors, site, names) for names in parts(site, measure.over)])


def _norms(tensors: Tensors, site: MoeSite, names: tuple[str, ...]) -> list[float]:
    squares = torch.zeros(site.num_experts, dtype=torch.float64)
    for name in names:
        for index in torch.arange(site.num_experts).split(ROWS_AT_ONCE):
            squares[index] += tensors.rows(name, index).double().flatten(1).square().sum(dim=1)
    return squares.sqrt().tolist()


def _unit_norms(tensors: Tensors, graph: ModelGraph, site: MoeSite) -> tuple[float, ...]:
    def blocks(name: str) -> Iterator[tuple[range, Tensor]]:
        count = rows_of(graph, name) if name in graph.tensors else 0
        at_once = max(1, count * ROWS_AT_ONCE // site.num_experts)
        for start in range(0, count, at_once):
            held = range(start, min(start + at_once, count))
            yield held, tensors.rows(name, torch.arange(held.start, held.stop)).double().square()

    return tuple(over_units(site, blocks).sqrt().tolist())


def _moves_rows(program: Expr) -> bool:
    match program:
        case Source():
            return True
        case Take(x, _) | Pick(x):
            return _moves_rows(x)
        case _:
            return False

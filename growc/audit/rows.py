"""Where a reading finds the tensors before a growth: in a folder, or in what the reading of an earlier growth says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from growc.anatomy.model_graph import ModelGraph
from growc.audit.value import Value, stacked
from growc.checkpoint.source import FolderTensors


class Rows(Protocol):
    """Tensors by their names in memory, read by rows; a tensor without dimensions is one row."""

    @property
    def graph(self) -> ModelGraph:
        """The model that they make up."""
        ...

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Of a tensor; None if nothing is known of it."""
        ...

    def dtype(self, name: str) -> torch.dtype:
        """Of a tensor."""
        ...

    def rows(self, name: str, index: Sequence[int]) -> Value:
        """Some rows of a tensor, of shape (rows, ...)."""
        ...


@dataclass(frozen=True)
class InFolder:
    """The tensors of a folder."""

    tensors: FolderTensors
    graph: ModelGraph

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See `Rows.shape`."""
        return shape_in(self.graph, name)

    def dtype(self, name: str) -> torch.dtype:
        """See `Rows.dtype`."""
        return self.tensors.dtype(name)

    def rows(self, name: str, index: Sequence[int]) -> Value:
        """See `Rows.rows`."""
        found = self.tensors.rows(name, torch.tensor(index))
        says = f"row {index[0]} of {name} in the source" if len(index) == 1 else f"{name} of the source"
        return Value(found if self.graph.tensors[name].shape else found.view(1), says)


@dataclass(frozen=True)
class Told:
    """What an operator says of one grown tensor: its dtype, and what a row must hold."""

    dtype: torch.dtype
    row: Callable[[int], Value]


@dataclass(frozen=True)
class AsTold:
    """The tensors after a growth, by its reading; those that it does not speak of are the ones before it."""

    told: Mapping[str, Told]
    before: Rows
    graph: ModelGraph

    @property
    def spoken(self) -> frozenset[str]:
        """The tensors that this reading or an earlier one speaks of."""
        return frozenset(self.told) | (self.before.spoken if isinstance(self.before, AsTold) else frozenset())

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See `Rows.shape`."""
        return shape_in(self.graph, name) if name in self.told else self.before.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        """See `Rows.dtype`."""
        return self.told[name].dtype if name in self.told else self.before.dtype(name)

    def rows(self, name: str, index: Sequence[int]) -> Value:
        """See `Rows.rows`."""
        if name not in self.told:
            return self.before.rows(name, index)
        told = self.told[name]
        return stacked([told.row(row).stored(told.dtype) for row in index])


def shape_in(graph: ModelGraph, name: str) -> tuple[int, ...] | None:
    """The shape of a tensor of a model; None if it has no such tensor."""
    return graph.tensors[name].shape if name in graph.tensors else None


def count(graph: ModelGraph, name: str) -> int:
    """How many rows a tensor has."""
    shape = graph.tensors[name].shape
    return shape[0] if shape else 1


def row(rows: Rows, name: str, number: int) -> Value:
    """One row of a tensor, of shape (...)."""
    return rows.rows(name, (number,)).at(0)


def whole(rows: Rows, name: str) -> Value:
    """All of a tensor: for small ones, and for matrices."""
    found = rows.rows(name, range(count(rows.graph, name)))
    return found if rows.graph.tensors[name].shape else found.at(0)


def std(rows: Rows, name: str) -> float:
    """The standard deviation over all elements of a tensor, in two passes row by row."""
    every = range(count(rows.graph, name))
    size = rows.graph.tensors[name].size
    mean = sum(float(row(rows, name, number).wide.sum()) for number in every) / size
    return (sum(float((row(rows, name, number).wide - mean).square().sum()) for number in every) / size) ** 0.5

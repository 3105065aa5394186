"""One growth, as its reading sees it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.audit.rows import Rows, Told
from growc.numerics.random import normal, uniform
from growc.operators import Operator

Reading = Mapping[str, Told]
"""What an operator says of the tensors of the grown model that are not the source's as they are, by name."""

Made = TypeVar("Made")
Kind_co = TypeVar("Kind_co", bound=Operator, covariant=True)


@dataclass(frozen=True)
class Step(Generic[Kind_co]):
    """An operator with its settings on a model.

    `before` and `after` are the models, traced, and `source` has the tensors of the first. `seed` is the one of the
    step, which is put before that of every draw. `order` says where the `up` maps of a dense network stand in the
    tensor of an expert that is made of it. `record` is what `growth.json` says of the step; what it decides by
    scores is `settled` where the tensors at hand are not those that were scored.
    """

    operator: Kind_co
    seed: str
    before: ModelGraph
    after: ModelGraph
    source: Rows
    record: Mapping[str, Any]
    order: tuple[int, ...] = ()
    settled: bool = False
    _kept: dict[str, Any] = field(default_factory=dict[str, Any], init=False)

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` gives for the tensor called `name`, kept until that of another one is asked for."""
        if name not in self._kept:
            self._kept.clear()
            self._kept[name] = make()
        return self._kept[name]

    def seed_of(self, what: str) -> str:
        """The seed of what is drawn for one tensor, or for what else is named."""
        return f"{self.seed}/{what}"

    def normal(self, what: str, row: int, shape: tuple[int, ...]) -> Tensor:
        """Row `row`, of this shape, of the standard normal values that are drawn for `what`, in float64."""
        size = math.prod(shape)
        return normal(self.seed_of(what), row * size, size).double().view(shape)

    def uniform(self, what: str, row: int, shape: tuple[int, ...]) -> Tensor:
        """The same of values in (-1, 1)."""
        size = math.prod(shape)
        return uniform(self.seed_of(what), row * size, size).double().view(shape)

    def fresh_dtype(self, name: str) -> torch.dtype:
        """That of a tensor of which the source has nothing: the model's own for whole numbers, else the weights'."""
        own: torch.dtype = getattr(torch, self.after.tensors[name].dtype)
        largest = max(self.before.tensors.values(), key=lambda tensor: tensor.size)
        return self.source.dtype(largest.name) if own.is_floating_point else own

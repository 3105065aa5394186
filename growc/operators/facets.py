"""What only some operators have: an operator that does is a subclass, and the compiler asks for it by `isinstance`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from growc.anatomy.layer_order import Order
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.widths import WidthAxis
from growc.operators.claims import Problem

if TYPE_CHECKING:
    from growc.operators.operator import Operator


class ReordersLayers(ABC):
    """It makes a model whose layers are those of the source, put together anew.

    The tensors of layers come to it as `growc.anatomy.matches.LayerPart`, under their new numbers.
    """

    @abstractmethod
    def layer_order(self, model: ModelGraph) -> Order:
        """For every layer of the grown model, the layer of `model` that it comes from; `model` has no `problems`."""

    @property
    @abstractmethod
    def closes(self) -> bool:
        """Whether layers that come again start closed, so that the tensors that do it are told apart."""


class WidensAxes(ABC):
    """It makes the axes of a model longer, by its config.

    Tensors whose shape changes come to it as `growc.anatomy.matches.Widened`, with what each of their dimensions holds.
    """

    @abstractmethod
    def axis_problems(self, axes: Collection[WidthAxis]) -> Iterator[Problem]:
        """Why these axes cannot become as long as the config makes them."""

    @abstractmethod
    def on_small(self, model: ModelGraph, small: ModelGraph) -> Operator:
        """The operator that does to a growth of `small`, a small version of `model`, what this one does to that of
        `model`.

        Raises:
            GrowcError: GROW406, if there is none.
        """

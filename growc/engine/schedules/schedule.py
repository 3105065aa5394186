"""What acts on a model while a stage trains it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from transformers import PreTrainedModel

from growc.anatomy.model_graph import ModelGraph
from growc.growth.past import PastGrowth


@dataclass(frozen=True)
class Stage:
    """A train stage of `steps` steps: the model as it is laid out, what it is, and the growths that led to it."""

    model: PreTrainedModel
    graph: ModelGraph
    steps: int
    past: Sequence[PastGrowth]


class Schedule:
    """Called before the first step and after every step, and around every update; one that does nothing, by itself."""

    def at(self, done: int) -> None:
        """Be where the stage is after `done` of its steps; it may begin anywhere, where it is resumed."""

    def around_update(self, step: int) -> AbstractContextManager[None]:  # noqa: ARG002, for those that need it
        """What the optimizer takes step `step` of the stage in, counted from 0."""
        return nullcontext()

"""What a measure may read before a growth: the models that grow, and calibration text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from growc.checkpoint.training import State
from growc.growth.rewrite import Rewrite


@dataclass
class Parent:
    """A model that grows, or is one of several that are mixed, and the state of its optimizer.

    `reads` gives that many calibration batches of the part of the data that it was last trained on, if it was.
    """

    model: PreTrainedModel
    state: State
    reads: Callable[[int], list[Tensor]] | None = None


@dataclass(frozen=True)
class Calibration:
    """A planned growth, the models that grow or are mixed, and this rank's share of the calibration text.

    `batches` gives so many batches, each of shape (sequences, sequence_length + 1).
    """

    planned: Rewrite
    parents: Sequence[Parent]
    batches: Callable[[int], list[Tensor]]
    device: torch.device

    @property
    def first(self) -> Parent:
        """The model that grows, or the first of those that are mixed."""
        return self.parents[0]

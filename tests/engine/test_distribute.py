"""Models and process groups are gone when they end."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import torch
import torch.distributed as dist

from growc.engine.distribute import alone, build_model
from growc.engine.layout import Layout
from growc.engine.losses import mean_loss, token_losses
from tests.families import FAMILIES

IDS = torch.zeros(1, 9, dtype=torch.long)


def trained_and_left() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
    """A model after a step of training, and its group."""
    with alone():
        model = build_model(FAMILIES["qwen3_moe"], Layout(1, 1), torch.device("cpu"), 0)
        mean_loss(model, IDS).backward()
        mean_loss(model, IDS)
        token_losses(model, IDS)
        found = weakref.ref(model), weakref.ref(dist.group.WORLD)
        del model
    return found


def test_nothing_of_a_group_is_left_for_a_forked_process_to_wait_for() -> None:
    """Cycles of a model hold its group, whose threads a process that is forked does not have.

    The first group of a process is another matter: torch keeps its mesh in a cache, for good.
    """
    trained_and_left()
    model, group = trained_and_left()
    assert model() is None
    assert group() is None


def test_a_model_can_be_freed_after_its_losses(alone: None) -> None:
    """A head that kept the loss would keep the graph below it, whose hooks hold the model; no collector sees that."""
    model = build_model(FAMILIES["qwen3_moe"], Layout(1, 1), torch.device("cpu"), 0)
    for learns in (True, False):
        loss = mean_loss(model, IDS)
        if learns:
            loss.backward()
        del loss
    left = weakref.ref(model)
    del model
    gc.collect()
    assert left() is None

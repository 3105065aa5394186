"""What enters modules while a model reads calibration text: all of it for one batch, or its mean over many."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from growc.engine.distribute import reshard
from growc.engine.losses import token_losses


def mean_inputs(
    model: PreTrainedModel,
    modules: Mapping[str, str],
    batches: Sequence[Tensor],
    device: torch.device,
) -> dict[str, tuple[float, ...]]:
    """The mean over all tokens of all ranks of what enters modules, the same on every rank.

    Sums are of float64, so that layouts of ranks differ by the rounding of their forwards alone.

    Args:
        model: laid out over the ranks.
        modules: paths by the names of the means.
        batches: this rank's share of the calibration text, each of shape (sequences, sequence_length + 1).
        device: of this rank.
    """
    sums: dict[str, Tensor] = {}
    count = torch.zeros((), dtype=torch.float64, device=device)
    for batch in batches:
        seen = inputs_of(model, modules, batch.to(device))
        sums = {name: entered.double().sum(0) + sums.get(name, 0) for name, entered in seen.items()}
        count += batch[:, 1:].numel()
    for total in (*sums.values(), count):
        dist.all_reduce(total)
    return {name: tuple((total / count).tolist()) for name, total in sums.items()}


@torch.no_grad()
def inputs_of(model: PreTrainedModel, modules: Mapping[str, str], batch: Tensor) -> dict[str, Tensor]:
    """What enters modules in one forward, of shape (tokens, width), by the names that `modules` gives their paths."""
    seen: dict[str, Tensor] = {}
    was_training = model.training
    model.eval()
    with _watched(model, modules, seen):
        token_losses(model, batch)
    reshard(model)
    model.train(was_training)
    return seen


@contextmanager
def _watched(model: PreTrainedModel, modules: Mapping[str, str], seen: dict[str, Tensor]) -> Generator[None]:
    def watch(name: str) -> Any:
        return lambda _, inputs: seen.__setitem__(name, inputs[0].flatten(0, -2))

    hooks = [model.get_submodule(path).register_forward_pre_hook(watch(name)) for name, path in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

"""Gradients over calibration batches, with which experts and their units are scored."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

from growc.engine.distribute import reshard
from growc.engine.losses import mean_loss


def backward_over(
    model: PreTrainedModel, batches: Sequence[Tensor], device: torch.device
) -> Generator[dict[str, Parameter]]:
    """The model's parameters by name once for each batch, each time with the gradients of that batch's mean loss.

    Args:
        model: laid out over the ranks; in evaluation mode meanwhile, and without gradients at the end.
        batches: this rank's share of each, of shape (sequences, sequence_length + 1).
        device: of this rank.
    """
    was_training = model.training
    model.eval()
    for batch in batches:
        mean_loss(model, batch.to(device)).backward()
        reshard(model)
        yield dict(model.named_parameters())
        model.zero_grad(set_to_none=True)
    model.train(was_training)

"""The language-model loss, on a batch and on the validation windows."""

from __future__ import annotations

import re

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from growc.diagnostics import fail
from growc.engine.distribute import reshard
from growc.engine.head import head_of
from growc.engine.versions import gathered

MIXED = re.compile(r"(dtype|scalar type).*(BFloat16|bfloat16)|(BFloat16|bfloat16).*(dtype|scalar type)")
"""What torch says of operands of two types, one of them bf16."""

TRIED = 8
"""Positions of the forward in which it is found out what a model does with the output of its head."""


def mean_loss(model: PreTrainedModel, batch: Tensor) -> Tensor:
    """The mean cross-entropy in nats of all predicted tokens.

    Args:
        model: a causal language model.
        batch: token ids of shape (sequences, sequence_length + 1).
    """
    total, losses = _losses(model, batch)
    return total.sum() / losses.numel()


@torch.no_grad()
def token_losses(model: PreTrainedModel, batch: Tensor) -> Tensor:
    """Cross-entropy in nats of every predicted token, of shape (sequences, sequence_length), without gradient.

    Args:
        model: a causal language model.
        batch: token ids of shape (sequences, sequence_length + 1).
    """
    _, losses = _losses(model, batch)
    return losses.view(len(batch), -1)


@torch.no_grad()
def ready_head(model: PreTrainedModel, device: torch.device) -> None:
    """Find out what a model with weights does with the output of its head, before anything counts its tokens.

    Every rank must call. Where nobody does, it is found in the forward before the first loss.

    Errors: GROW628 (it is not known), GROW638 (the model mixes types, which fails in bf16).
    """
    try:
        head_of(model).look_behind(model, torch.zeros(1, TRIED, dtype=torch.long, device=device))
    except RuntimeError as error:  # torch has no type of its own for it
        if not MIXED.search(str(error)):
            raise
        fail("GROW638", f"{model.config.model_type} does not compute in bf16: {str(error).splitlines()[0]}",
             help="train with precision: fp32")  # fmt: skip
    reshard(model)


def _losses(model: PreTrainedModel, batch: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the losses of all tokens, with gradient, and those of every token."""
    head, targets = head_of(model), batch[:, 1:]
    head.look_behind(model, batch[:1, :-1][:, :TRIED])
    with head.against(targets):
        model(input_ids=batch[:, :-1], use_cache=False)
    return head.take_losses()


@torch.no_grad()
def validation_losses(
    model: PreTrainedModel,
    windows: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    device: torch.device,
    chunk: int = 8,
) -> Tensor:
    """Mean loss in nats of every validation window, of shape (windows,), the same tensor on every rank.

    Ranks share the windows; where they do not divide, the last ones are computed twice and counted once, because
    every rank must take part in every collective of the forward.
    """
    ranks, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    share = -(-len(windows) // ranks)
    mine = [min(rank * share + i, len(windows) - 1) for i in range(share)]
    was_training = model.training
    model.eval()
    parts: list[Tensor] = []
    for start in range(0, share, chunk):
        batch = torch.from_numpy(windows[mine[start : start + chunk]]).to(device)
        parts.append(token_losses(model, batch).double().mean(dim=1))
    reshard(model)
    model.train(was_training)
    losses = torch.cat(parts)
    if ranks > 1:
        losses = gathered(losses)
    return losses[: len(windows)].cpu()

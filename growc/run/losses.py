"""The language-model loss, on a batch and on the validation windows."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from growc.run.data import Tokens
from growc.run.distribute import reshard
from growc.spec.training import Precision


def precision(name: Precision, device: torch.device) -> AbstractContextManager[object]:
    """bf16: matrix products in bfloat16 over fp32 weights, the same on one rank as on many; fp32: as it is."""
    return torch.autocast(device.type, torch.bfloat16) if name == "bf16" else nullcontext()


def token_losses(model: PreTrainedModel, batch: Tensor) -> Tensor:
    """Cross-entropy in nats of every predicted token, of shape (sequences, sequence_length).

    Args:
        model: a causal language model.
        batch: token ids of shape (sequences, sequence_length + 1).
    """
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    flat = F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
    return flat.view(batch.shape[0], -1)


@torch.no_grad()
def validation_losses(
    model: PreTrainedModel,
    windows: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    device: torch.device,
    kind: Precision,
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
    with precision(kind, device):
        for start in range(0, share, chunk):
            batch = torch.from_numpy(windows[mine[start : start + chunk]]).to(device)
            parts.append(token_losses(model, batch).double().mean(dim=1))
    reshard(model)
    model.train(was_training)
    losses = torch.cat(parts)
    if ranks > 1:
        everyone = losses.new_empty(ranks * share)
        dist.all_gather_single(everyone, losses)
        losses = everyone
    return losses[: len(windows)].cpu()


def validation_windows(
    tokens: Tokens, sequence_length: int, limit: int
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """The windows on which every arm is validated: fixed, so that arms can be compared window by window."""
    return np.asarray(tokens.windows(sequence_length, limit), dtype=np.int64)

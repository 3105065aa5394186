"""What dynamic skipping would do to a top-2 model: measured, never kept (arXiv 2402.14800)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from growc.anatomy.sites import MoeSite
from growc.engine.distribute import reshard
from growc.engine.losses import validation_losses
from growc.engine.versions import gathered
from growc.nn.skipping import as_skipping, with_ratios


@dataclass(frozen=True)
class Skipping:
    """Beta and the share of skipped expert calls by layer, and the losses by validation window."""

    beta: dict[int, float]
    skipped: dict[int, float]
    losses: Tensor


def measure_skipping(
    model: PreTrainedModel,
    sites: tuple[MoeSite, ...],
    batches: list[Tensor],
    windows: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    device: torch.device,
) -> Skipping:
    """Beta is the median of w2/w1 over all tokens of `batches` (this rank's share of each); losses are on `windows`."""
    was_training = model.training
    model.eval()
    with torch.no_grad(), with_ratios(model, sites) as ratios:
        for batch in batches:
            model(input_ids=batch[:, :-1].to(device), use_cache=False)
    reshard(model)
    betas = {site: float(_everyone(torch.cat(ratios[site.layer])).median()) for site in sites}
    with as_skipping(model, betas) as seen:
        losses = validation_losses(model, windows, device)
    model.train(was_training)
    counts = _summed(torch.tensor([[seen[s.layer].skipped, seen[s.layer].calls] for s in sites], device=device))
    shares = {
        site.layer: skipped / max(calls, 1) for site, (skipped, calls) in zip(sites, counts.tolist(), strict=True)
    }
    return Skipping({site.layer: beta for site, beta in betas.items()}, shares, losses)


def _everyone(ratios: Tensor) -> Tensor:
    """Those of all ranks, which route equally many tokens."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return ratios
    return gathered(ratios)


def _summed(counts: Tensor) -> Tensor:
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(counts)
    return counts

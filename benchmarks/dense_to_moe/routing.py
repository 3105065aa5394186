"""How the routers of a trained model route held-out text: entropy, load, and how many sets of experts they use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.engine.losses import token_losses
from growc.model import inspect
from growc.nn.auto import register

SHARE = 0.9
"""Of the tokens: the fewest sets of experts that carry as many are counted."""


@dataclass(frozen=True)
class Routing:
    """Means over layers.

    `entropy` is that of a token's scores over all experts, in nats; `load` the largest expert's tokens over the mean;
    `sets` how many different sets of experts carry 90 % of the tokens.
    """

    entropy: float
    load: float
    sets: float


def routing_of(checkpoint: Path, windows: Tensor) -> Routing:
    """Route windows of token ids, of shape (windows, length + 1), with the model in a folder."""
    register()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    graph = inspect(model.config.to_dict(), windows.shape[1] - 1)
    seen: dict[int, list[tuple[Tensor, Tensor]]] = {site.layer: [] for site in graph.moe}

    def hook(layer: int) -> Any:
        def keep(_: Any, __: Any, routed: tuple[Tensor, ...]) -> None:
            chosen = next(out for out in routed if not out.is_floating_point())
            seen[layer].append((routed[0].float(), chosen))

        return keep

    hooks = [model.get_submodule(site.router).register_forward_hook(hook(site.layer)) for site in graph.moe]
    with torch.no_grad():
        for batch in windows.split(8):
            token_losses(model, batch)
    for each in hooks:
        each.remove()
    layers = [_layer(*map(torch.cat, zip(*calls, strict=True))) for calls in seen.values()]
    return Routing(*(sum(values) / len(layers) for values in zip(*layers, strict=True)))


def _layer(logits: Tensor, chosen: Tensor) -> tuple[float, float, float]:
    """Entropy, load and number of sets of one layer, from logits (tokens, experts) and choices (tokens, K)."""
    shares = logits.softmax(dim=-1)
    entropy = -(shares * shares.clamp_min(1e-30).log()).sum(dim=-1).mean()
    counts = chosen.flatten().bincount(minlength=logits.shape[-1]).float()
    _, sizes = chosen.sort(dim=-1).values.unique(dim=0, return_counts=True)
    carried = sizes.sort(descending=True).values.cumsum(0) / len(chosen)
    return float(entropy), float(counts.max() / counts.mean()), float((carried < SHARE).sum() + 1)

"""Expert load: counting it, and keeping it even."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from growc.anatomy.sites import MoeSite
from growc.engine.recompute import recomputing
from growc.spec.schema import Balance


class Load:
    """Counts the tokens that every expert gets, by layer, through hooks on the routers.

    With gradients it keeps what losses need: mean probabilities of experts, and the mean square of logsumexp(logits).
    `counts` is of shape (layers, experts) for models whose layers agree, else one row per layer of its own length.
    """

    def __init__(self, model: nn.Module, sites: tuple[MoeSite, ...], balance: Balance | None = None) -> None:
        self.sites = sites
        self.biases = {s.layer: _tensor(model, s.selection_bias) for s in sites if s.selection_bias is not None}
        self.counts: dict[int, Tensor] = {}
        self.mean_probability: dict[int, Tensor] = {}
        self.mean_squares: dict[int, Tensor] = {}
        self._squares = balance is not None and balance.z_loss > 0
        self._probabilities = balance is not None and balance.method == "auxiliary"
        self._hooks = [model.get_submodule(site.rule).register_forward_hook(self._hook(site)) for site in sites]

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, site: MoeSite) -> Any:
        def hook(_: nn.Module, __: Any, routed: tuple[Tensor, ...]) -> None:
            chosen = next((out for out in routed if not out.is_floating_point()), None)
            if chosen is None:  # dense dispatch: gates of shape (tokens, experts), zero where not selected
                counts, logits = (routed[0] > 0).sum(dim=0), routed[1]
            else:
                counts, logits = torch.bincount(chosen.flatten(), minlength=site.num_experts), routed[0]
            # Computed in a recomputation, too, which has to save what the first forward saved, and kept of that one.
            squares = logits.float().logsumexp(dim=-1).square().mean() if self._squares else None
            probability = logits.float().softmax(dim=-1).mean(dim=0) if self._probabilities else None
            if recomputing():
                return
            self.counts[site.layer] = self.counts.get(site.layer, 0) + counts.detach()
            if squares is not None:
                self.mean_squares[site.layer] = squares
            if probability is not None:
                self.mean_probability[site.layer] = probability

        return hook

    def reduced(self) -> dict[int, Tensor]:
        """Counts since the last call, summed over all ranks in one collective, by layer."""
        if not self.counts:
            return {}
        layers = sorted(self.counts)
        flat = torch.cat([self.counts[layer] for layer in layers])
        if dist.is_initialized():
            dist.all_reduce(flat)
        self.counts = {}
        sizes = [next(s.num_experts for s in self.sites if s.layer == layer) for layer in layers]
        return dict(zip(layers, flat.split(sizes), strict=True))


def auxiliary_loss(load: Load, counts: dict[int, Tensor], coefficient: float) -> Tensor:
    """Coefficient * mean over layers of E * sum_e f_e P_e (Switch Transformer, arXiv 2101.03961, Section 2.2).

    f_e is the share of the *global* batch's choices that went to expert e; P_e is this rank's mean probability, whose
    gradients the data-parallel mean turns into those of the global batch.
    """
    terms = [len(count) * (count / count.sum() * load.mean_probability[layer]).sum() for layer, count in counts.items()]
    return coefficient * torch.stack(terms).mean()


def z_loss(load: Load, coefficient: float) -> Tensor:
    """Coefficient * mean over layers and tokens of logsumexp(logits)^2 (ST-MoE, arXiv 2202.08906, Section 3.3)."""
    return coefficient * torch.stack(list(load.mean_squares.values())).mean()


@torch.no_grad()
def update_selection_bias(load: Load, counts: dict[int, Tensor], rate: float) -> None:
    """b_e += rate * sign(mean count - count_e) with global counts (loss-free balancing, arXiv 2408.15664)."""
    for layer, bias in load.biases.items():
        count = counts[layer].float()
        bias += rate * torch.sign(count.mean() - count)


def violation(counts: dict[int, Tensor]) -> float:
    """The largest excess of an expert's load over the mean, relative to it, over all layers (MaxVio)."""
    return max(float(c.max() / c.float().mean()) - 1 for c in counts.values()) if counts else 0.0


def _tensor(model: nn.Module, name: str) -> Tensor:
    module, _, attribute = name.rpartition(".")
    return getattr(model.get_submodule(module), attribute)

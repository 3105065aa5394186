"""Dynamic skipping, run on the whole model: no weight and no config changes (arXiv 2402.14800).

A top-2 layer leaves out a token's second expert where its gate is small beside the first one's. Where gates add up to
the same for every token, the first gets the gate of both, so that they still do.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from growc.anatomy.sites import MoeSite


class Skipped:
    """How many expert calls of a layer were left out, of how many."""

    def __init__(self) -> None:
        self.skipped = 0
        self.calls = 0


@contextmanager
def with_ratios(model: nn.Module, sites: tuple[MoeSite, ...]) -> Generator[Mapping[int, list[Tensor]]]:
    """Within: nothing changes. Yields, by layer, the ratios w2/w1 of all tokens that forwards route."""
    seen: dict[int, list[Tensor]] = {site.layer: [] for site in sites}

    def keep(site: MoeSite) -> Callable[[Tensor], Tensor]:
        def read(gates: Tensor) -> Tensor:
            seen[site.layer].append(_ratios(gates))
            return gates

        return read

    with _gates_through(model, {site: keep(site) for site in sites}):
        yield seen


@contextmanager
def as_skipping(model: nn.Module, betas: Mapping[MoeSite, float]) -> Generator[Mapping[int, Skipped]]:
    """Within: second experts with w2 < beta * w1 are left out. Yields, by layer, how many, filled by forwards."""
    seen = {site.layer: Skipped() for site in betas}

    def leave_out(site: MoeSite, beta: float) -> Callable[[Tensor], Tensor]:
        adds_up = site.repetition is not None and site.repetition.gates_add_up

        def change(gates: Tensor) -> Tensor:
            skips = (_ratios(gates) < beta)[:, None]
            seen[site.layer].skipped += int(skips.sum())
            seen[site.layer].calls += gates.numel()
            first = gates == gates.amax(dim=1, keepdim=True)
            alone = gates.sum(dim=1, keepdim=True) if adds_up else gates
            return torch.where(skips, torch.where(first, alone, torch.zeros_like(gates)), gates)

        return change

    with _gates_through(model, {site: leave_out(site, beta) for site, beta in betas.items()}):
        yield seen


def _ratios(gates: Tensor) -> Tensor:
    """w2/w1 of every token: gates are not negative, and one expert at least has one."""
    pair = gates.detach().float().sort(dim=1, descending=True).values
    return pair[:, 1] / pair[:, 0].clamp(min=torch.finfo(torch.float32).tiny)


@contextmanager
def _gates_through(model: nn.Module, functions: Mapping[MoeSite, Callable[[Tensor], Tensor]]) -> Generator[None]:
    """Within: the gates of the chosen experts, of shape (tokens, 2), go through these functions."""
    with ExitStack() as stack:
        for site, function in functions.items():
            router: Any = model.get_submodule(site.rule)
            stack.callback(setattr, router, "forward", router.forward)
            # No hook: with expert parallelism there is one already, and it leaves this rank's experts only.
            router.forward = _changed(router.forward, function)
        yield


def _changed(stock: Callable[..., tuple[Tensor, ...]], function: Callable[[Tensor], Tensor]) -> Any:
    def forward(hidden_states: Tensor, *given: Any) -> tuple[Tensor, ...]:
        routed = stock(hidden_states, *given)
        chosen = next(out for out in routed if not out.is_floating_point())
        # Logits come before gates, and are as wide where a layer has two experts.
        place = max(i for i, out in enumerate(routed) if out.is_floating_point() and out.shape == chosen.shape)
        return tuple(function(out) if i == place else out for i, out in enumerate(routed))

    return forward

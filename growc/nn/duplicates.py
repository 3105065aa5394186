"""The K_eff law, run on the source: what plain duplication will compute, before a weight is touched.

All replicas of an expert tie, so free top-K fills its slots source by source: with replicas r and the source's experts
sorted by score, expert (j) takes n_(j) = min(r_(j), K - sum_{i<j} n_(i)) slots, and only
K_eff = min{k : r_(1) + ... + r_(k) >= K} different experts run. Doubling every expert makes a top-2 model a top-1
model. Here the source's own rule routes over the repeated logits and its choices are mapped back to the experts that
exist, so the loss of the source under this context is the loss of the grown model at the transition.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from growc.anatomy.replicas import Replicas, order
from growc.anatomy.sites import MoeSite
from growc.nn.rewired import Rewired, selection_biases


class KEff:
    """Running mean of K_eff, the number of different experts that a token meets in one layer."""

    def __init__(self) -> None:
        self.distinct = 0
        self.tokens = 0

    def count(self, chosen: Tensor) -> None:
        """Add the source experts chosen by each token, of shape (tokens, K)."""
        ordered = chosen.sort(dim=-1).values
        self.distinct += int((ordered[:, 1:] != ordered[:, :-1]).sum()) + ordered.shape[0]
        self.tokens += ordered.shape[0]

    @property
    def mean(self) -> float:
        """Different experts per token, between 1 and top-K."""
        return self.distinct / max(self.tokens, 1)


@contextmanager
def as_duplicated(model: nn.Module, replicas: Mapping[MoeSite, Replicas]) -> Generator[dict[int, KEff]]:
    """Within: `model` computes what its plainly duplicated self would. Yields K_eff by layer, filled by forwards.

    Args:
        model: the source model.
        replicas: of every layer that is to grow.
    """
    seen = {site.layer: KEff() for site in replicas}
    with ExitStack() as stack:
        for site, grown in replicas.items():
            router, experts = model.get_submodule(site.rule), model.get_submodule(site.experts)
            stack.enter_context(_swapped(router, _routed(router, grown, seen[site.layer])))
            if site.dense_dispatch:
                stack.enter_context(_swapped(experts, _dense(experts, grown)))
        yield seen


@contextmanager
def _swapped(module: nn.Module, forward: Any) -> Generator[None]:
    before = module.forward
    module.forward = forward
    try:
        yield
    finally:
        module.forward = before


def _routed(router: Any, replicas: Replicas, seen: KEff) -> Any:
    stock, source_of = router.forward, list(order(replicas))

    def forward(hidden_states: Tensor, *given: Any) -> Any:
        source = torch.tensor(source_of, device=hidden_states.device)
        rewired = Rewired(
            selection_biases(router, given),
            lambda linear: linear()[:, source],
            lambda scores, bias: scores + bias[source],
            lambda vector: vector.reshape(-1)[source],
        )
        experts = getattr(router, "num_experts", None)
        if experts is not None:  # some routers have no need to know
            router.num_experts = len(source_of)
        router.copies = replicas  # a mixture of routers must know them before its logits are repeated
        try:
            with rewired:
                routed = stock(hidden_states, *given)
        finally:
            if experts is not None:
                router.num_experts = experts
            del router.copies
        indices = [i for i, out in enumerate(routed) if not out.is_floating_point()]
        if not indices:  # dense dispatch: gates of shape (tokens, slots), zero where not selected
            gates = routed[0]
            seen.count(source[gates.topk(router.top_k, dim=-1).indices])
            return routed
        seen.count(source[routed[indices[0]]])
        return tuple(source[out] if i in indices else out for i, out in enumerate(routed))

    return forward


def _dense(experts: Any, replicas: Replicas) -> Any:
    """Experts that see every token, scaled by its gate: run the source's once for every rank among siblings."""
    stock, source, width = experts.forward, order(replicas), max(replicas)
    turn = [sum(source[j] == source[i] for j in range(i)) for i in range(len(source))]

    def forward(hidden_states: Tensor) -> Tensor:
        slots = hidden_states.view(len(source), -1, hidden_states.shape[-1])
        out = torch.zeros_like(slots)
        for c in range(width):
            taken = [i for i, t in enumerate(turn) if t == c]
            padded = slots.new_zeros(len(replicas), *slots.shape[1:])
            padded[[source[i] for i in taken]] = slots[taken]
            computed = stock(padded.reshape(-1, padded.shape[-1])).view_as(padded)
            out[taken] = computed[[source[i] for i in taken]]
        return out.view_as(hidden_states)

    return forward

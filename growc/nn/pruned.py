"""A layer without some of its experts, run on the whole model: no weight and no config changes."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from growc.nn.rewired import Rewired, selection_biases


@contextmanager
def without(router: nn.Module, dropped: Collection[int]) -> Generator[None]:
    """Within: the router's own rule chooses and weighs among all experts but `dropped`.

    Their logits are minus infinity, and so are their scores where a selection bias is added. What the layer computes is
    what it would without these experts and their rows of the router.
    """
    stock: Any = router.forward
    gone = sorted(dropped)

    def masked(scores: Tensor) -> Tensor:
        return scores.index_fill(-1, torch.tensor(gone, dtype=torch.long, device=scores.device), -torch.inf)

    def forward(hidden_states: Tensor, *given: Any) -> Any:
        biases = selection_biases(router, given)
        with Rewired(biases, lambda linear: masked(linear()), lambda scores, bias: masked(scores + bias)):
            return stock(hidden_states, *given)

    router.forward = forward
    try:
        yield
    finally:
        router.forward = stock

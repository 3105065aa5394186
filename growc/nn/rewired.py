"""Running a stock router with its logits or its selection bias replaced, and nothing else.

A stock router is a linear map followed by the family's own rule (scores, selection, gates). Everything growc needs of
routing is the rule on other logits, so the rule itself is never written again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function
from typing_extensions import override

_SUMS = {torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__}


class Rewired(TorchFunctionMode):
    """While on: the router's linear map, and the adding of its selection bias, go through these functions.

    Args:
        bias: the selection bias of the router that runs, or None.
        on_logits: gets the linear map as a thunk and returns the logits to go on with, of shape (tokens, experts).
        on_bias: gets scores and bias and returns the selection scores.
    """

    def __init__(
        self,
        bias: Tensor | None,
        on_logits: Callable[[Callable[[], Tensor]], Tensor],
        on_bias: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.bias, self.on_logits, self.on_bias = bias, on_logits, on_bias

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in (F.linear, own_logits):
            return self.on_logits(lambda: func(*args, **options))
        if self.bias is not None and func in _SUMS and any(arg is self.bias for arg in args):
            scores = next(arg for arg in args if arg is not self.bias)
            return self.on_bias(scores, self.bias)
        return func(*args, **options)


class OwnLogits(TorchFunctionMode):
    """While on: the router's linear map is another function of tokens and of the rows of its weight.

    Args:
        logits: that function, of shape (tokens, experts); a bias is added to it.
    """

    def __init__(self, logits: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.logits = logits

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not F.linear:
            return func(*args, **(kwargs or {}))
        tokens, rows, *rest = args
        bias = rest[0] if rest else (kwargs or {}).get("bias")
        return own_logits(tokens, lambda: self.logits(tokens, rows) + (0 if bias is None else bias))


def own_logits(tokens: Tensor, compute: Callable[[], Tensor]) -> Tensor:
    """Logits that are no linear map of the tokens: a `Rewired` that is on takes them for the router's linear map."""
    if has_torch_function((tokens,)):
        return handle_torch_function(own_logits, (tokens,), tokens, compute)
    return compute()


def selection_bias(router: nn.Module) -> Tensor | None:
    """The router's buffer of shape (experts,) that shifts the choice of experts but not their gates, if it has one."""
    experts = next(p.shape[0] for p in router.parameters(recurse=False) if p.dim() == 2)
    found = [b for b in router.buffers(recurse=False) if b.shape == (experts,)]
    return found[0] if found else None


def inputs(router: nn.Module) -> int:
    """How wide the tokens are that the router gets."""
    return getattr(router, "queries", next(p for p in router.parameters(recurse=False) if p.dim() == 2)).shape[1]


def plain_sum(scores: Tensor, bias: Tensor) -> Tensor:
    """The stock way of adding a selection bias."""
    return scores + bias

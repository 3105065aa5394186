"""Running a stock router with its logits or its selection bias replaced, and nothing else.

A stock router is a linear map followed by the family's own rule (scores, selection, gates). Everything growc needs of
routing is the rule on other logits, so the rule itself is never written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function
from typing_extensions import override

SUMS = {torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__}
"""What adds a selection bias to scores."""

_SAME_NUMBERS = {
    *(Tensor.to, Tensor.float, Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.type_as, Tensor.detach),
    *(Tensor.squeeze, Tensor.unsqueeze, Tensor.view, Tensor.reshape, Tensor.flatten, Tensor.contiguous),
    *(torch.squeeze, torch.unsqueeze, torch.reshape, torch.flatten),
}


class Followed:
    """Tensors, and what holds their numbers in another dtype or shape: routers cast their selection bias."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._origin = [(tensor, tensor) for tensor in tensors]  # held, so that no id is used again

    def origin(self, item: object) -> Tensor | None:
        """The tensor whose numbers `item` holds, if it is one of these."""
        return next((origin for held, origin in self._origin if held is item), None)

    def follow(self, func: object, args: Sequence[object], result: object) -> None:
        """Take `result` of a call for what it was made of, if the call only cast or reshaped it."""
        if self._origin and func in _SAME_NUMBERS and args and isinstance(result, Tensor):
            origin = self.origin(args[0])
            if origin is not None and result.numel() == origin.numel():
                self._origin.append((result, origin))


class Rewired(TorchFunctionMode):
    """While on: the router's linear map, and the adding of its selection bias, go through these functions.

    Args:
        biases: what may be the selection bias of the router that runs: those of `selection_biases`.
        on_logits: gets the linear map as a thunk and returns the logits to go on with, of shape (tokens, experts).
        on_bias: gets scores and the bias, of shape (experts,), and returns the selection scores.
        on_other: gets what has one number for each expert where the router does anything else with it (a scale of
            gates, say), and returns what it works with instead.
    """

    def __init__(
        self,
        biases: Iterable[Tensor],
        on_logits: Callable[[Callable[[], Tensor]], Tensor],
        on_bias: Callable[[Tensor, Tensor], Tensor],
        on_other: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.biases, self.on_logits, self.on_bias, self.on_other = Followed(biases), on_logits, on_bias, on_other

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in (F.linear, own_logits):
            return self.on_logits(lambda: func(*args, **options))
        if func in SUMS:
            bias = next((arg for arg in args if self.biases.origin(arg) is not None), None)
            if bias is not None:
                return self.on_bias(next(arg for arg in args if arg is not bias), bias.reshape(-1))
        if self.on_other is not None and func not in _SAME_NUMBERS:
            args = tuple(arg if self.biases.origin(arg) is None else self.on_other(arg) for arg in args)
        result = func(*args, **options)
        self.biases.follow(func, args, result)
        return result


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


def selection_biases(router: nn.Module, given: Iterable[object] = ()) -> tuple[Tensor, ...]:
    """The tensors with one number for each expert that may shift the choice of experts but not their gates.

    Those are the router's buffers and parameters, but for the bias of a linear map, and what it is `given` beside the
    tokens.
    """
    experts = _matrix(router).shape[0]
    of_maps = [module.bias for module in router.modules() if isinstance(module, nn.Linear)]
    found = (*router.parameters(), *router.buffers(), *(item for item in given if isinstance(item, Tensor)))
    return tuple(t for t in found if is_vector(t, experts) and not any(t is bias for bias in of_maps))


def is_vector(tensor: Tensor, length: int) -> bool:
    """Whether a tensor has `length` numbers along one dimension, and is of length 1 along all others."""
    return tensor.numel() == length and length in tensor.shape


def inputs(router: nn.Module) -> int:
    """How wide the tokens are that the router gets."""
    return getattr(router, "queries", _matrix(router)).shape[1]


def _matrix(router: nn.Module) -> Tensor:
    """The router's linear map, of shape (experts, inputs)."""
    return next(p for p in router.parameters() if p.dim() == 2 and 1 not in p.shape)


def plain_sum(scores: Tensor, bias: Tensor) -> Tensor:
    """The stock way of adding a selection bias."""
    return scores + bias

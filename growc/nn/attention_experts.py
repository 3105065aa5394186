"""Several attentions in the place of one, all of them active (BAM, arXiv 2408.08274): sum_i g_i(x) MHA_i(x).

Every expert is a copy of the stock module, and runs its code. What experts share, where they have one set of keys and
values together, keeps its stock name and is computed once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import DynamicLayer
from typing_extensions import override


class AttentionRouter(nn.Module):
    """Gates of attention experts: a softmax over all of them."""

    def __init__(self, hidden: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, hidden))

    @override
    def forward(self, hidden_states: Tensor) -> Tensor:
        """Gates (..., experts) of tokens (..., hidden)."""
        logits = F.linear(hidden_states, self.weight)
        gates = logits.softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        return gates.to(hidden_states.dtype)

    def draw(self, std: float) -> None:
        """Fresh weights."""
        nn.init.normal_(self.weight, std=std)


class Once:
    """A function that several experts call in turn, and that is computed for the first of them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.result = function, None

    def __call__(self, *given: Any, **named: Any) -> Any:
        """What the function made of what it was first given."""
        if self.result is None:
            self.result = self.function(*given, **named)
        return self.result

    def forget(self) -> None:
        """Make ready for other inputs."""
        self.result = None


class AttentionExperts(nn.Module):
    """Experts, the router of their gates, and the modules that all of them share: `shared` children of the stock one.

    In a cache the keys and values of expert i of layer l are layer `l + i * depth`, or layer l for all where experts
    share them.
    """

    def __init__(self, attention: nn.Module, config: Any, experts: int, shared: Sequence[str]) -> None:
        super().__init__()
        stock = cast(Any, attention).config  # is one for the whole model, since it says how attention is computed
        self.depth = int(config.num_hidden_layers)
        self.router = AttentionRouter(config.hidden_size, experts)
        self.experts = nn.ModuleList(copy.deepcopy(attention, {id(stock): stock}) for _ in range(experts))
        self.once = tuple(self._share(name, attention.get_submodule(name)) for name in shared)

    def _share(self, name: str, module: nn.Module) -> Once:
        self.add_module(name, module)
        once = Once(module)
        for expert in self.experts:
            delattr(expert, name)
            setattr(expert, name, once)  # no module, so that its tensors have one name
        return once

    @override
    def forward(self, hidden_states: Tensor, *, past_key_values: Any = None, **given: Any) -> tuple[Tensor, None]:
        """What the stock attention returns, but for its weights; `given` is what else its layer hands it.

        Raises:
            ValueError: experts with keys of their own get a cache of another kind than transformers' dynamic one.
        """
        gates, caches = self.router(hidden_states), self._caches(past_key_values)
        try:
            attended = [
                expert(hidden_states, past_key_values=cache, **given)[0]
                for expert, cache in zip(self.experts, caches, strict=True)
            ]
        finally:
            for once in self.once:
                once.forget()
        return (gates[..., None] * torch.stack(attended, dim=-2)).sum(dim=-2), None

    def _caches(self, cache: Any) -> Iterator[Any]:
        """The cache as each expert sees it."""
        count = len(self.experts)
        if cache is None:
            return iter([None] * count)
        if self.once:
            return iter([SimpleNamespace(update=Once(cache.update))] * count)
        _extend(cache, self.depth, count)
        return (_behind(cache, expert * self.depth) for expert in range(count))


def _extend(cache: Any, depth: int, experts: int) -> None:
    """Give a cache layers for all experts, in place, of the kinds that it has for the first of them."""
    if cache.layer_class_to_replicate is DynamicLayer:  # it makes them when it needs them
        return
    for place in range(len(cache.layers), depth * experts):
        like = cache.layers[place % depth]
        if not isinstance(like, DynamicLayer):
            raise ValueError(f"attention experts use a dynamic cache, and this one has a {type(like).__name__}")
        fresh = copy.copy(like)
        fresh.reset()  # lets go of its tensors, which stay those of the other
        cache.layers.append(fresh)


def _behind(cache: Any, distance: int) -> SimpleNamespace:
    """The cache with other layers, so far behind, in the place of those of the model."""

    def update(keys: Tensor, values: Tensor, layer_idx: int, *more: Any, **named: Any) -> tuple[Tensor, Tensor]:
        return cache.update(keys, values, layer_idx + distance, *more, **named)

    return SimpleNamespace(update=update)


def of_attention(attention: nn.Module, config: Any, *, experts: int, shared: Sequence[str]) -> AttentionExperts:
    """Attention experts that each are as `attention` is.

    Args:
        attention: of a stock layer, which calls it with its cache, if any, as `past_key_values`.
        config: its numbers of layers and of hidden units.
        experts: how many there are.
        shared: names of its children that all experts share; none, or all that makes keys and values.

    Raises:
        ValueError: it takes its cache under another name.
    """
    if "past_key_values" not in signature(attention.forward).parameters:
        raise ValueError(f"{type(attention).__name__} takes its cache in a way of its own")
    return AttentionExperts(attention, config, experts, shared)

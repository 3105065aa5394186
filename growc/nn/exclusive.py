"""Sibling-exclusive routing: one winner per group of siblings, then the router's own top-K over the winners.

Losers' logits become -inf before the stock rule sees them, so every scoring rule (softmax or sigmoid, gates
renormalised or not, top-K before or after the softmax, selection bias, routing groups, sparse mixer) stays what it
was. While siblings are identical, the winners' logits are the source's logits, and the layer computes exactly its
source: mask the losers, then the ordinary top-K.

To release siblings, losers get log(u) added instead, and groups stand by their members' own biases as far as u says:
u = 0 is exclusive, u = 1 is the stock router.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from growc.nn.rewired import Rewired, plain_sum, selection_biases


class Siblings:
    """Which slots of a layer are siblings, and who wins among them.

    Its index tensors follow from the config, so they are no buffers: no checkpoint or shard holds them.

    Args:
        replicas: sizes of the groups in slot order; their sum is the number of experts.
    """

    def __init__(self, replicas: Iterable[int]) -> None:
        sizes = list(replicas)
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        widest = range(max(sizes))
        self.members = [[s + min(c, size - 1) for c in widest] for s, size in zip(starts, sizes, strict=True)]
        self.absent = [[c >= size for c in widest] for size in sizes]
        self.group = [g for g, size in enumerate(sizes) for _ in range(size)]
        self._placed: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Members (groups, widest), absent (groups, widest) and group of every slot (experts,), on `device`."""
        if device not in self._placed:
            self._placed[device] = (
                torch.tensor(self.members, device=device),
                torch.tensor(self.absent, device=device),
                torch.tensor(self.group, device=device),
            )
        return self._placed[device]

    def sizes(self, device: torch.device) -> Tensor:
        """The size of every slot's group, of shape (experts,)."""
        _, absent, group = self.tensors(device)
        return (~absent).sum(dim=1)[group]

    def winners(self, keys: Tensor, hidden: Tensor) -> Tensor:
        """A mask of shape (tokens, experts) with one True per token and group.

        The highest key wins. Equal keys (fresh copies) are told apart by the number of positive features of the
        token, modulo the size of the group: a unique winner, without parameters, the same on every layout of ranks,
        and the tokens of a group spread over its siblings.

        Args:
            keys: what siblings compete with, of shape (tokens, experts).
            hidden: the tokens, of shape (tokens, features).
        """
        members, absent, group = self.tensors(keys.device)
        grouped = keys.detach()[:, members].masked_fill(absent, -torch.inf)
        tied = grouped == grouped.amax(dim=-1, keepdim=True)
        slots = torch.arange(members.shape[1], device=keys.device)
        sizes = (~absent).sum(dim=1, keepdim=True)
        token = hidden.detach().relu().count_nonzero(dim=-1)
        turn = (slots - token[:, None, None]) % sizes
        winner = torch.where(tied, turn, members.shape[1]).argmin(dim=-1)
        slot_of_winner = members.gather(1, winner.T).T
        return slot_of_winner[:, group] == torch.arange(keys.shape[1], device=keys.device)

    def first(self, bias: Tensor) -> Tensor:
        """Every slot's bias replaced by that of the first sibling of its group, of shape (experts,).

        A group stands among the groups by its original's bias: noise on the bias of a copy moves tokens between
        siblings only, and the grown layer stays exact.
        """
        members, _, group = self.tensors(bias.device)
        return bias[members[:, 0]][group]


class ExclusiveRouting(nn.Module):
    """Mixed into a stock router class by `make_exclusive`; parameters and their names stay the stock router's."""

    siblings: Siblings
    open: float

    @override
    def forward(self, hidden_states: Tensor, *given: Any) -> Any:
        """What the stock router returns, with losers never selected, or less and less held back."""
        if self.open >= 1:
            return super().forward(hidden_states, *given)
        hidden = hidden_states.reshape(-1, hidden_states.shape[-1])
        biases = selection_biases(self, given)
        if not biases:
            with Rewired((), lambda linear: self._masked(linear(), hidden), plain_sum):
                return super().forward(hidden_states, *given)

        # Siblings compete with score + bias, and only the stock rule knows the score: read it without gradients,
        # then run the rule on the winners. The linear map is computed once.
        logits, keys = self._read(hidden_states, given, biases)
        losers = ~self.siblings.winners(keys, hidden)

        def standing(scores: Tensor, bias: Tensor) -> Tensor:
            return self._behind(scores + torch.lerp(self.siblings.first(bias), bias, self.open), losers)

        with Rewired(biases, lambda _: self._behind(logits, losers), standing):
            return super().forward(hidden_states, *given)

    def _masked(self, logits: Tensor, hidden: Tensor) -> Tensor:
        return self._behind(logits, ~self.siblings.winners(logits, hidden))

    def _behind(self, scores: Tensor, losers: Tensor) -> Tensor:
        """Scores with losers held back: out of the race, or by log(u)."""
        if self.open == 0:
            return scores.masked_fill(losers, -torch.inf)
        return scores + math.log(self.open) * losers

    def _read(self, hidden_states: Tensor, given: tuple[Any, ...], biases: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Logits with their gradient, and selection scores without, both of shape (tokens, experts)."""
        read: dict[str, Tensor] = {}

        def linear_once(linear: Callable[[], Tensor]) -> Tensor:
            # Detached only behind the map: the casts to single precision before it carry the gradient.
            read["logits"] = linear()
            return read["logits"].detach()

        def keep(scores: Tensor, bias: Tensor) -> Tensor:
            read["keys"] = scores + bias
            return read["keys"]

        with Rewired(biases, linear_once, keep):
            super().forward(hidden_states, *given)
        return read["logits"], read.get("keys", read["logits"])  # a bias of the logits is no selection bias


@cache
def _exclusive_class(router: type[nn.Module]) -> type[nn.Module]:
    return cast(type[nn.Module], type(f"Exclusive{router.__name__}", (ExclusiveRouting, router), {}))


def make_exclusive(router: nn.Module, replicas: Iterable[int], how_far_open: float = 0.0) -> None:
    """Turn a stock router into an exclusive one, in place.

    Args:
        router: a stock router whose experts are the slots.
        replicas: sizes of the groups of siblings, in slot order.
        how_far_open: u of the release, from 0 (exclusive) to 1 (free).
    """
    router.__class__ = _exclusive_class(type(router))
    exclusive = cast(ExclusiveRouting, router)
    exclusive.siblings, exclusive.open = Siblings(replicas), how_far_open


def exclusive_routers(model: nn.Module) -> dict[str, ExclusiveRouting]:
    """The routers of a model that keep siblings apart, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, ExclusiveRouting)}

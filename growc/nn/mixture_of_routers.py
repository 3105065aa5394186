"""Several routers in the place of one (Router Upcycling, arXiv 2509.00679): queries of a token meet keys of experts.

Router r makes a query q_r(x) of every token and scores expert e by s_re = <q_r(x), k_e> / sqrt(width). Their scores
together are the logits that the stock router goes on with, so its rule (softmax, top-K, gates, bias) stays its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from growc.nn.exclusive import Siblings
from growc.nn.rewired import OwnLogits

Keys = Literal["static", "token"]
Combine = Literal["mean_softmax", "per_router_keys", "sum_logits"]


@dataclass(frozen=True)
class Mixing:
    """How many routers there are, how wide their queries are, of how wide a token, and how they are combined."""

    routers: int
    width: int
    inputs: int
    keys: Keys
    combine: Combine

    @property
    def key_size(self) -> int:
        """Parameters of an expert's key, or of all its keys."""
        sizes = {"static": self.width, "token": self.width * self.inputs}
        return sizes[self.keys] * (self.routers if self.combine == "per_router_keys" else 1)


class MixtureOfRouters(nn.Module):
    """Mixed into a stock router class by `of_router`.

    `queries` is of shape (routers * width, inputs). `weight`, in the place of the stock router's, has the keys, a row
    for each expert: a key (width), one for each router (routers * width), or the map of a token to it (width * inputs).
    """

    not_of_experts = ("queries",)

    copies: tuple[int, ...] | None = None
    """For as long as the router stands for its plainly duplicated self: of each expert."""

    mixing: Mixing
    queries: nn.Parameter
    weight: nn.Parameter

    @override
    def forward(self, hidden_states: Tensor, *given: Any) -> Any:
        """What the stock router returns, for the logits of the mixture."""
        with OwnLogits(self.logits):
            return super().forward(hidden_states, *given)

    def logits(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Logits of shape (tokens, experts) of tokens of shape (tokens, inputs)."""
        how = self.mixing
        queries = tokens @ self.queries.to(tokens.dtype).T / math.sqrt(how.width)
        if how.combine == "per_router_keys":
            return queries @ keys.T
        queries = queries.unflatten(-1, (how.routers, how.width))
        if how.combine == "sum_logits":
            return self._scores(queries.sum(dim=1, keepdim=True), keys, tokens).squeeze(1)
        scores = self._scores(queries, keys, tokens)
        return self._together(scores.to(torch.promote_types(scores.dtype, torch.float32))).to(tokens.dtype)

    def _scores(self, queries: Tensor, keys: Tensor, tokens: Tensor) -> Tensor:
        """Scores (tokens, routers, experts) of queries (tokens, routers, width)."""
        if self.mixing.keys == "static":
            return queries @ keys.T
        of_tokens = tokens @ keys.reshape(-1, self.mixing.inputs).T
        return queries @ of_tokens.unflatten(-1, (len(keys), self.mixing.width)).mT

    def _together(self, scores: Tensor) -> Tensor:
        """Logits whose softmax is the mean of the routers' softmaxes.

        Of all logits with that softmax those whose logsumexp is the mean of the routers', so that one router alone has
        its scores for logits, and a z-loss keeps scores small.
        """
        totals = (scores + self._weights(scores)).logsumexp(dim=-1, keepdim=True)
        return (scores - totals).logsumexp(dim=1) - math.log(self.mixing.routers) + totals.mean(dim=1)

    def _weights(self, scores: Tensor) -> Tensor:
        """The logarithm of how often every expert counts in each softmax, of shape (experts,).

        Where one of a group of siblings wins, they share one vote: fresh copies count as what they are copies of.
        """
        weights = scores.new_ones(scores.shape[-1]) if self.copies is None else scores.new_tensor(self.copies)
        siblings = cast(Siblings | None, getattr(self, "siblings", None))
        if siblings is None:
            return weights.log()
        sizes = siblings.sizes(scores.device).to(scores.dtype)
        return weights.log() - (1 - cast(float, getattr(self, "open", 0.0))) * sizes.log()

    def draw(self, std: float) -> None:
        """Fresh weights."""
        nn.init.normal_(self.queries, std=std)
        nn.init.normal_(self.weight, std=std)


@cache
def _mixed_class(router: type[nn.Module]) -> type[nn.Module]:
    return cast(type[nn.Module], type(f"MixtureOf{router.__name__}s", (MixtureOfRouters, router), {}))


def of_router(router: nn.Module, config: Any, *, keys: Keys, combine: Combine) -> nn.Module:
    """Make a mixture of routers of a stock router, in place: one for each pair of the attention's heads.

    Args:
        router: with a `weight` of shape (experts, inputs).
        config: of the layer: the number and width of its attention heads.
        keys: `static` parameters, or made of every `token`.
        combine: how their scores become one.
    """
    stock = router.weight
    assert isinstance(stock, Tensor)
    heads, inputs = config.num_attention_heads, stock.shape[1]
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    router.__class__ = _mixed_class(type(router))
    mixture = cast(MixtureOfRouters, router)
    mixture.mixing = Mixing((heads + 1) // 2, 2 * head, inputs, keys, combine)
    mixture.weight = nn.Parameter(stock.new_empty(len(stock), mixture.mixing.key_size))
    mixture.queries = nn.Parameter(stock.new_empty(mixture.mixing.routers * mixture.mixing.width, inputs))
    return mixture

"""A router whose rows are projections of domains (Nexus, arXiv 2408.15901): scores are <x, e_i> with e_i = P(d_i).

P is a small SwiGLU network, one in each layer, that all experts share and that is trained; the embeddings d_i of the
experts' domains are fixed. The scores are the logits that the stock router goes on with, so its rule stays its own.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from growc.nn.rewired import OwnLogits


class DomainRouter(nn.Module):
    """Mixed into a stock router class by `of_router`.

    `weight`, in the place of the stock router's, has an embedding for each expert, as wide as a token; it is a buffer,
    since it is not trained. `gate_up` (2 * width, inputs) and `down` (inputs, width) are P.
    """

    not_of_experts = ("gate_up", "down")

    weight: Tensor
    gate_up: nn.Parameter
    down: nn.Parameter

    @override
    def forward(self, hidden_states: Tensor, *given: Any) -> Any:
        """What the stock router returns, for rows that are projected."""
        with OwnLogits(self.logits):
            return super().forward(hidden_states, *given)

    def logits(self, tokens: Tensor, domains: Tensor) -> Tensor:
        """Logits of shape (tokens, experts) of tokens of shape (tokens, inputs)."""
        return tokens @ self.projected(domains).to(tokens.dtype).T

    def projected(self, domains: Tensor) -> Tensor:
        """The rows e_i of domains of shape (experts, inputs)."""
        if domains.is_meta:  # what is projected once for a batch is no cost of a token
            return domains
        gate, up = (domains @ self.gate_up.T).chunk(2, dim=-1)
        return (F.silu(gate) * up) @ self.down.T

    def draw(self, std: float) -> None:
        """Fresh weights, and domains."""
        for tensor in (self.weight, self.gate_up, self.down):
            nn.init.normal_(tensor, std=std)


@cache
def _domain_class(router: type[nn.Module]) -> type[nn.Module]:
    return cast(type[nn.Module], type(f"Domain{router.__name__}", (DomainRouter, router), {}))


def of_router(router: nn.Module, config: Any, *, width: int) -> nn.Module:  # noqa: ARG001, a kind of change gets it
    """Make a router of domains of a stock router, in place.

    Args:
        router: with a `weight` of shape (experts, inputs).
        config: of the layer.
        width: units of the projection.
    """
    stock = router.weight
    assert isinstance(stock, Tensor)
    experts, inputs = stock.shape
    router.__class__ = _domain_class(type(router))
    made = cast(DomainRouter, router)
    del made.weight
    made.register_buffer("weight", torch.empty(experts, inputs, dtype=stock.dtype, device=stock.device))
    made.gate_up = nn.Parameter(stock.new_empty(2 * width, inputs))
    made.down = nn.Parameter(stock.new_empty(inputs, width))
    return made

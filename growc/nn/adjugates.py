"""Adjugate experts (Grove MoE, arXiv 2508.07785): groups of experts share a small one each, computed once per token.

    y = sum_{i chosen} w_i E_i(x) + scale * sum_{groups j hit} (sum_{i chosen, in j} w_i) A_j(x)

Stock blocks give tokens, choices and gates to their experts, whatever else they do; so it is the call of the experts
to which adjugates add. They are a module of the block, beside the experts, whose tensors keep their names.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from growc.anatomy.grown_format import ADJUGATE_WIDTH, ADJUGATES
from growc.nn.mixture import Experts


class Adjugates(Experts):
    """One small expert for every `size` neighbouring experts."""

    _is_expert_parallel = True
    """transformers' kernels then leave out what goes to an expert of number `num_experts`, that there is not."""

    def __init__(self, config: Any, act: nn.Module, *, groups: int, size: int, scale: float, gated: bool) -> None:
        width: int = getattr(config, ADJUGATE_WIDTH)
        super().__init__(config, act, count=groups, hidden=config.hidden_size, width=width, gated=gated)
        self.size, self.scale = size, scale

    @override
    def forward(self, hidden_states: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
        """What adjugates add to tokens with these chosen experts, each group that is hit once."""
        group = chosen // self.size
        alike = group[:, :, None] == group[:, None, :]
        weight = (alike * gates[:, None, :]).sum(dim=-1)
        repeated = alike.tril(-1).any(dim=-1)
        once = torch.where(repeated, self.num_experts, group)
        return super().forward(hidden_states, once, self.scale * weight.masked_fill(repeated, 0))


class WithAdjugates(nn.Module):
    """Mixed into a stock class of experts by `add_adjugates`; parameters and their names stay the stock ones."""

    beside: tuple[Adjugates]  # a tuple, so that they do not become a part of the experts

    @override
    def __call__(self, hidden_states: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
        """What the experts make of their tokens, and what their groups' adjugates add.

        Not `forward`: hooks, and whoever traces, see the experts as they were.
        """
        own: Tensor = super().__call__(hidden_states, chosen, gates)
        return own + self.beside[0](hidden_states, chosen, gates)


@cache
def _with_adjugates(experts: type[nn.Module]) -> type[nn.Module]:
    return cast(type[nn.Module], type(f"{experts.__name__}WithAdjugates", (WithAdjugates, experts), {}))


def add_adjugates(block: nn.Module, config: Any, *, experts: str, group_size: int, scale: float) -> nn.Module:
    """Give the experts of a stock block adjugates, in place.

    Args:
        block: a mixture of experts whose router gives every token its experts.
        config: its width of adjugates.
        experts: the name of its experts.
        group_size: how many neighbouring experts share an adjugate.
        scale: what the adjugates' part is multiplied by.

    Raises:
        ValueError: the experts do not divide into groups.
    """
    stock = block.get_submodule(experts)
    count = next(parameter.shape[0] for parameter in stock.parameters() if parameter.dim() == 3)
    if count % group_size:
        raise ValueError(f"{count} experts do not divide into groups of {group_size}")
    act = cast(nn.Module, getattr(stock, "act_fn", nn.SiLU()))
    gated = bool(getattr(stock, "has_gate", True))
    adjugates = Adjugates(config, act, groups=count // group_size, size=group_size, scale=scale, gated=gated)
    stock.__class__ = _with_adjugates(type(stock))
    cast(WithAdjugates, stock).beside = (adjugates,)
    block.add_module(ADJUGATES, adjugates)
    return block

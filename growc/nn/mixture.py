"""A mixture of experts in the place of a dense feed-forward network, for families whose own classes have none.

Experts are stacks of the network's own matrices as they are (Linear or Conv1D, gated or not, with biases or not), run
by transformers' own kernels for experts. Sizes are fields of the config under transformers' usual names, so that all
that grows mixtures of experts can grow these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.pytorch_utils import Conv1D
from typing_extensions import override

from growc.anatomy.grown_format import EXPERTS, RENORMALISED, SHARED_EXPERT, TOP_K, WIDTH


class Router(nn.Module):
    """Softmax over all experts, then the top-K, whose gates sum to 1 if they are renormalised."""

    def __init__(self, hidden: int, experts: int, top_k: int, *, renormalised: bool) -> None:
        super().__init__()
        self.num_experts, self.top_k, self.renormalised = experts, top_k, renormalised
        self.weight = nn.Parameter(torch.empty(experts, hidden))

    @override
    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (tokens, experts), gates (tokens, K) and chosen experts (tokens, K) of tokens (tokens, hidden)."""
        logits = F.linear(hidden_states, self.weight)
        gates, chosen = logits.softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32)).topk(self.top_k)
        if self.renormalised:
            gates = gates / gates.sum(dim=-1, keepdim=True)
        return logits, gates.to(hidden_states.dtype), chosen

    def draw(self, std: float) -> None:
        """Fresh weights."""
        nn.init.normal_(self.weight, std=std)


class Experts(nn.Module):
    """Stacks of `count` feed-forward networks; names and switches are those that transformers' kernels know."""

    has_post_expert_norm = False
    is_concatenated = True
    _is_expert_parallel = False

    def __init__(
        self,
        config: Any,
        act: nn.Module,
        *,
        count: int,
        hidden: int,
        width: int,
        gated: bool,
        biased: bool = False,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.num_experts, self.act_fn = count, act
        self.has_gate, self.has_bias, self.is_transposed = gated, biased, transposed
        fused = "gate_up_proj" if gated else "up_proj"
        for name, inner, outer in ((fused, hidden, width * (1 + gated)), ("down_proj", width, hidden)):
            shape = (inner, outer) if self.is_transposed else (outer, inner)
            setattr(self, name, nn.Parameter(torch.empty(count, *shape)))
            if self.has_bias:
                setattr(self, f"{name}_bias", nn.Parameter(torch.empty(count, outer)))

    def _apply_gate(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return self.act_fn(gate) * up

    @override
    def forward(self, hidden_states: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
        """The sum of every token's experts times their gates, of shape (tokens, hidden)."""
        return kernel(self.config, hidden_states)(self, hidden_states, chosen, gates)

    def draw(self, std: float) -> None:
        """Fresh weights; biases are 0."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=std) if parameter.dim() == 3 else nn.init.zeros_(parameter)


class Mixture(nn.Module):
    """Router, experts, and the dense network's dropout; and perhaps a shared expert, which every token gets."""

    def __init__(self, gate: Router, experts: Experts, dropout: float, shared: nn.Module | None = None) -> None:
        super().__init__()
        self.gate, self.experts, self.dropout = gate, experts, nn.Dropout(dropout)
        setattr(self, SHARED_EXPERT, shared)

    def expert_parallel(self) -> dict[str, str]:
        """How experts divide among ranks: the styles of transformers' engine by the names of what is inside."""
        stacks = {f"experts.{name}": "grouped_gemm" for name, _ in self.experts.named_parameters()}
        return {**stacks, "experts": "ep_dispatch_experts"}

    @override
    def forward(self, hidden_states: Tensor) -> Tensor:
        """What the dense network returned: a tensor of the shape that it gets."""
        tokens = hidden_states.reshape(-1, hidden_states.shape[-1])
        _, gates, chosen = self.gate(tokens)
        mixed = self.dropout(self.experts(tokens, chosen, gates)).view_as(hidden_states)
        shared = getattr(self, SHARED_EXPERT)
        return mixed if shared is None else mixed + shared(hidden_states)


def of_ffn(ffn: nn.Module, config: Any, *, up: Sequence[str], down: str, shared: bool = False) -> Mixture:
    """A mixture whose experts are as `ffn` is.

    Args:
        ffn: a dense feed-forward network.
        config: its numbers of experts and of units, top-K and gates.
        up: the names of its maps to the units, the gated one first.
        down: the name of the way back.
        shared: whether the network itself stays, as an expert that every token gets.

    Raises:
        ValueError: it is built in a way that stacks cannot express.
    """
    parts = parts_of(ffn, up, down)
    experts = Experts(
        config,
        parts.act,
        count=getattr(config, EXPERTS),
        hidden=parts.hidden,
        width=getattr(config, WIDTH),
        gated=len(up) == 2,
        biased=parts.biased,
        transposed=parts.transposed,
    )
    return Mixture(router(config, parts.hidden), experts, parts.dropout, ffn if shared else None)


def router(config: Any, hidden: int) -> Router:
    """A router of the sizes that a config says."""
    return Router(hidden, getattr(config, EXPERTS), getattr(config, TOP_K), renormalised=getattr(config, RENORMALISED))


def kernel(config: Any, hidden_states: Tensor) -> Callable[[Any, Tensor, Tensor, Tensor], Tensor]:
    """The kernel of transformers' for experts that gets these tokens."""
    asked = config._experts_implementation  # noqa: SLF001
    if asked not in ("batched_mm", "grouped_gemm"):  # "eager" where the stock class has no choice
        asked = "batched_mm" if hidden_states.dtype is torch.float64 else "grouped_mm"  # which does not know it
    return ALL_EXPERTS_FUNCTIONS[asked]


@dataclass(frozen=True)
class Parts:
    """What a dense feed-forward network is built of."""

    act: nn.Module
    hidden: int
    biased: bool
    transposed: bool
    dropout: float


def parts_of(ffn: nn.Module, up: Sequence[str], down: str) -> Parts:
    """What a dense feed-forward network is built of; its maps are called `up` and `down`.

    Raises:
        ValueError: it is built in a way that stacks cannot express.
    """
    maps, back = [ffn.get_submodule(name) for name in up], ffn.get_submodule(down)
    plain = [module for module in ffn.children() if next(module.parameters(), None) is None]
    acts = [module for module in plain if not isinstance(module, nn.Dropout)]
    kinds = {(type(module), _biased(module)) for module in (*maps, back)}
    if len(acts) != 1 or len(kinds) != 1 or not isinstance(back, (nn.Linear, Conv1D)):
        raise ValueError("a feed-forward network of other parts than linear maps of one kind and one activation")
    dropout = max((m.p for m in plain if isinstance(m, nn.Dropout)), default=0.0)
    return Parts(acts[0], _hidden(back), _biased(back), isinstance(back, Conv1D), dropout)


def _biased(module: nn.Module) -> bool:
    return "bias" in dict(module.named_parameters(recurse=False))


def _hidden(down: nn.Module) -> int:
    """The width of the residual stream."""
    assert isinstance(down.weight, Tensor)
    return down.weight.shape[1 if isinstance(down, Conv1D) else 0]

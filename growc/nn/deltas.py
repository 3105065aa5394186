"""Experts that are one shared network plus deltas of their own (DeRS, arXiv 2503.01359): W_i = W_base + F(D_i).

The base is the dense network itself, under its own names. Weights of experts are composed in every forward pass, and
run by transformers' own kernels for experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from typing_extensions import override

from growc.anatomy.grown_format import EXPERTS
from growc.nn.mixture import Parts, Router, kernel, parts_of, router


class Deltas(nn.Module):
    """What experts differ in, for the matrices of one network by name: sparse (`every`) or low-rank (`rank`).

    Sparse: of every `every` entries in a row of the flattened matrix one is free, at the place among them that its
    `offsets` say, which are no parameters; it adds its number of `values`. Low-rank: `outer` @ `inner` is added.
    """

    offsets: Mapping[str, Tensor]

    def __init__(
        self,
        config: Any,
        shapes: Mapping[str, torch.Size],
        parts: Parts,
        *,
        every: int | None = None,
        rank: int | None = None,
    ) -> None:
        super().__init__()
        self.config, self.parts_act, self.transposed, self.biased = config, (parts.act,), parts.transposed, parts.biased
        self.names, self.every, self.num_experts = tuple(shapes), every, int(getattr(config, EXPERTS))
        for name, (rows, columns) in shapes.items():
            if every is not None:
                free = rows * columns // every
                self.register_parameter(f"{name}_values", nn.Parameter(torch.empty(self.num_experts, free)))
                self.register_buffer(f"{name}_offsets", torch.empty(self.num_experts, free, dtype=torch.uint8))
            else:
                assert rank is not None
                self.register_parameter(f"{name}_outer", nn.Parameter(torch.empty(self.num_experts, rows, rank)))
                self.register_parameter(f"{name}_inner", nn.Parameter(torch.empty(self.num_experts, rank, columns)))

    def composed(self, name: str, base: Tensor) -> Tensor:
        """The matrices of all experts, of shape (experts, *base.shape)."""
        stack = base.expand(self.num_experts, *base.shape)
        if self.every is not None:
            values, offsets = getattr(self, f"{name}_values"), getattr(self, f"{name}_offsets")
            places = torch.arange(0, values.shape[1] * self.every, self.every, device=offsets.device) + offsets
            return stack.flatten(1).scatter_add(1, places, values).view_as(stack)
        if base.is_meta:  # what is composed once for a batch is no cost of a token
            return stack
        return stack + getattr(self, f"{name}_outer") @ getattr(self, f"{name}_inner")

    @override
    def forward(
        self, hidden_states: Tensor, chosen: Tensor, gates: Tensor, bases: Sequence[Tensor], biases: Sequence[Tensor]
    ) -> Tensor:
        """The sum of every token's experts times their gates, of shape (tokens, hidden).

        Args:
            hidden_states: tokens.
            chosen: the experts of each.
            gates: the gate of each of these.
            bases: the shared matrices, the way back last.
            biases: those of the maps, if they have any.
        """
        *up, down = (self.composed(name, base) for name, base in zip(self.names, bases, strict=True))
        *up_bias, down_bias = (bias.expand(self.num_experts, -1) for bias in biases) if biases else (None,)
        experts = SimpleNamespace(
            num_experts=self.num_experts,
            has_gate=len(up) == 2,
            has_bias=self.biased,
            has_post_expert_norm=False,
            is_transposed=self.transposed,
            is_concatenated=True,
            _is_expert_parallel=False,
            _apply_gate=self._apply_gate,
            act_fn=self.parts_act[0],
            down_proj=down,
            down_proj_bias=down_bias,
        )
        fused = "gate_up_proj" if experts.has_gate else "up_proj"
        setattr(experts, fused, torch.cat(up, dim=2 if self.transposed else 1))
        setattr(experts, f"{fused}_bias", torch.cat(up_bias, dim=1) if self.biased else None)
        return kernel(self.config, hidden_states)(experts, hidden_states, chosen, gates)

    def _apply_gate(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return self.parts_act[0](gate) * up

    def draw(self, std: float) -> None:
        """Fresh deltas: all weights of a fresh model are drawn."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=std)
        for buffer in self.buffers():
            assert self.every is not None
            init.copy_(buffer, torch.randint_like(buffer, self.every))  # but for what has been loaded


class WithDeltas(nn.Module):
    """Mixed into the class of a dense network by `of_ffn`; its own tensors are the base, and keep their names."""

    gate: Router
    deltas: Deltas
    maps: tuple[str, ...]
    dropout_of_all: float

    @override
    def forward(self, hidden_states: Tensor) -> Tensor:
        """What the dense network returned: a tensor of the shape that it gets."""
        tokens = hidden_states.reshape(-1, hidden_states.shape[-1])
        _, gates, chosen = self.gate(tokens)
        maps: list[Any] = [self.get_submodule(name) for name in self.maps]
        biases = [m.bias for m in maps] if self.deltas.biased else []
        mixed: Tensor = self.deltas(tokens, chosen, gates, [m.weight for m in maps], biases)
        return F.dropout(mixed, self.dropout_of_all, self.training).view_as(hidden_states)


@cache
def _with_deltas(ffn: type[nn.Module]) -> type[nn.Module]:
    return cast(type[nn.Module], type(f"{ffn.__name__}WithDeltas", (WithDeltas, ffn), {}))


def of_ffn(
    ffn: nn.Module,
    config: Any,
    *,
    up: Sequence[str],
    down: str,
    every: int | None = None,
    rank: int | None = None,
) -> nn.Module:
    """Make a dense network the shared base of a mixture of experts, in place.

    Args:
        ffn: a dense feed-forward network.
        config: its number of experts, top-K and gates.
        up: the names of its maps to the units, the gated one first.
        down: the name of the way back.
        every: how many entries of a matrix there are for each free one of an expert, for sparse deltas.
        rank: of low-rank deltas.

    Raises:
        ValueError: it is built in a way that stacks cannot express.
    """
    parts, maps = parts_of(ffn, up, down), (*up, down)
    shapes = {name: cast(Tensor, ffn.get_submodule(name).weight).shape for name in maps}
    ffn.__class__ = _with_deltas(type(ffn))
    changed = cast(WithDeltas, ffn)
    changed.gate = router(config, parts.hidden)
    changed.deltas = Deltas(config, shapes, parts, every=every, rank=rank)
    changed.maps, changed.dropout_of_all = maps, parts.dropout
    return changed

"""Experts by the library grouped-gemm: all products of a layer's experts in one CUTLASS kernel, on GPUs of any age.

torch's own grouped product is one kernel from SM90 on, and a loop over experts before, A100 included. The library
(BSD-3-Clause; `nv-grouped-gemm` has the same interface) computes

    gmm(rows, weights, counts, trans_b): rows sorted by expert (n, in), weights (experts, in, out), or (experts, out,
    in) with trans_b, counts of rows by expert, int64 on the CPU -> (n, out), with gradients of rows and weights

on contiguous bf16. Its source distribution has to be built with GROUPED_GEMM_CUTLASS=1, or it is a loop, too.

Checkpointing does not see into the library: `selective` computes its products again.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

NAME = "grouped_gemm"
LIBRARY = "grouped_gemm"

ALIGNED = 8
"""Sizes that CUTLASS loads in bf16 are multiples of it."""


def register() -> None:
    """Make `experts_implementation="grouped_gemm"` known to transformers."""
    ALL_EXPERTS_FUNCTIONS.register(NAME, experts_forward)


def installed() -> bool:
    """Whether the library is there."""
    return find_spec(LIBRARY) is not None


def experts_forward(experts: Any, hidden_states: Tensor, chosen: Tensor, gates: Tensor) -> Tensor:
    """The sum of every token's experts times their gates, of shape (tokens, hidden).

    Args:
        experts: a module with the names and switches that transformers' kernels for experts know.
        hidden_states: tokens, of shape (tokens, hidden).
        chosen: the experts of each, of shape (tokens, K); what is none of this module's adds nothing, and is allowed
            where `_is_expert_parallel` says so.
        gates: of these, of shape (tokens, K).
    """
    top_k = chosen.shape[-1]
    expert, order = chosen.flatten().sort()
    counts = torch.zeros(experts.num_experts + 1, dtype=torch.long, device=expert.device)
    counts = counts.scatter_add_(0, expert.clamp(max=experts.num_experts), torch.ones_like(expert))[:-1].cpu()
    if experts._is_expert_parallel:  # noqa: SLF001
        rows = int(counts.sum())  # what is none of this module's stands at the end
        expert, order = expert[:rows], order[:rows]
    up = "gate_up_proj" if experts.has_gate else "up_proj"
    found = _mapped(experts, up, hidden_states[order // top_k], expert, counts)
    found = experts._apply_gate(found) if experts.has_gate else experts.act_fn(found)  # noqa: SLF001
    found = _mapped(experts, "down_proj", found, expert, counts)
    if experts.has_post_expert_norm:
        found = experts.post_expert_norm(found)
    weighted = found * gates.flatten()[order, None]
    by_token = weighted.new_zeros(chosen.numel(), weighted.shape[-1]).index_copy(0, order, weighted)
    return by_token.view(*chosen.shape, -1).sum(dim=1).to(hidden_states.dtype)


def _mapped(experts: Any, name: str, rows: Tensor, expert: Tensor, counts: Tensor) -> Tensor:
    """Rows, sorted by their expert, through its map of this name."""
    weights: Tensor = getattr(experts, name)
    gmm = import_module(f"{LIBRARY}.ops").gmm
    found = gmm(rows.to(weights.dtype).contiguous(), weights.contiguous(), counts, trans_b=not experts.is_transposed)
    return found + getattr(experts, f"{name}_bias")[expert] if experts.has_bias else found

"""Which kernel for experts is the fastest here: measured on the experts of one layer, as a run computes them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import MoeSite
from growc.engine import grouped_gemm
from growc.engine.optimizer import TYPES
from growc.model.build import load_config
from growc.spec.training import FloatType

TURNS = 5
"""How often every kernel is timed, in turn with the others; the first turn of all is not counted."""


@dataclass(frozen=True)
class Share:
    """What one rank computes at once: `tokens` of its own, and the `experts`-th part of the experts of all ranks.

    With expert parallelism as many pairs of a token and an expert come to a rank as leave it, on average.
    """

    tokens: int
    ep: int


def time_experts(
    model: ModelGraph, share: Share, precision: FloatType, device: torch.device, kernels: Sequence[str]
) -> dict[str, float]:
    """Median seconds of a forward and a backward of the experts of a model's first mixture, by kernel.

    Kernels for which the device has too little memory are left out. Weights and tokens are drawn, and tokens are spread
    evenly over the experts.

    Args:
        model: with experts.
        share: of one rank.
        precision: what experts compute in.
        device: of this rank.
        kernels: those to be timed.
    """
    grouped_gemm.register()
    site = model.moe[0]
    count = site.num_experts // share.ep
    experts = _experts(model, site, count, TYPES[precision], device)
    tokens, top_k = (share.tokens * site.top_k, 1) if share.ep > 1 else (share.tokens, site.top_k)
    weights: Tensor = experts.gate_up_proj if experts.has_gate else experts.up_proj
    hidden = torch.randn(tokens, weights.shape[1 if experts.is_transposed else 2], device=device, dtype=weights.dtype)
    chosen = (torch.arange(tokens * top_k, device=device) % count).view(tokens, top_k)
    gates = torch.full((tokens, top_k), 1 / top_k, device=device, dtype=weights.dtype)
    given = (hidden.requires_grad_(), chosen[torch.randperm(tokens, device=device)], gates)
    kept = [name for name in kernels if name != "batched_mm" or _fits(experts, tokens * top_k, device)]
    seconds: dict[str, list[float]] = {name: [] for name in kept}
    for turn in range(TURNS + 1):
        for name in kept:
            experts.config._experts_implementation = name  # noqa: SLF001
            spent = _seconds(experts, given, device)
            if turn:
                seconds[name].append(spent)
    return {name: statistics.median(spent) for name, spent in seconds.items()}


def _experts(model: ModelGraph, site: MoeSite, count: int, dtype: torch.dtype, device: torch.device) -> Any:
    """The module of `count` experts of a layer alone, with weights that are drawn."""
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(load_config(model.config), dtype=dtype)
    experts: Any = whole.get_submodule(site.experts)
    for name, stack in list(experts.named_parameters()):
        rows = torch.randn(count, *stack.shape[1:], dtype=dtype, device=device) / math.sqrt(stack.shape[-1])
        experts.register_parameter(name, nn.Parameter(rows))
    experts.num_experts = count
    return experts


def _fits(experts: nn.Module, pairs: int, device: torch.device) -> bool:
    """Whether the device can hold the weights of an expert for every pair of a token and an expert, and gradients."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return 2 * pairs * sum(stack[0].nbytes for stack in experts.parameters()) < free


def _seconds(experts: nn.Module, given: tuple[Tensor, ...], device: torch.device) -> float:
    """Of one forward and backward."""
    _wait(device)
    began = time.perf_counter()
    found: Tensor = experts.forward(*given)  # adjugates are added around it
    torch.autograd.grad(found, [given[0], *experts.parameters()], torch.ones_like(found))
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

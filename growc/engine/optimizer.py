"""Optimizers and their state by tensor name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from growc.checkpoint.training import State
from growc.engine.distribute import local, over_shards
from growc.engine.moments import KEPT_IN, AdamWInBf16
from growc.engine.muon import MuonWithAdamW
from growc.spec.schema import AdamW, Muon, Optimizer, Sgd
from growc.spec.training import FloatType

ADAM = {"step", "exp_avg", "exp_avg_sq"}
"""Names of the state tensors of a parameter under AdamW; all but the step have the parameter's shape."""

MOMENTUM = {"momentum_buffer"}
"""Those of a parameter that moves by a running mean or sum of its gradients."""

TYPES: Mapping[FloatType, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build_optimizer(
    spec: Optimizer,
    named: Mapping[str, nn.Parameter],
    hidden: Collection[str] = (),
    moments: FloatType = "fp32",
) -> torch.optim.Optimizer:
    """The optimizer of a stage. Weight decay acts on matrices and expert stacks, not on norms and biases.

    Args:
        spec: which, and its settings.
        named: the parameters.
        hidden: names of the matrices that muon is for; see `hidden_matrices`. The others ask for none.
        moments: the type in which means of gradients are kept; sgd has none.
    """
    if isinstance(spec, Sgd):
        assert moments == "fp32", "refused when the spec is read"
        return torch.optim.SGD(_groups(named.values(), spec.weight_decay, moments), lr=spec.lr, momentum=spec.momentum)
    if isinstance(spec, AdamW):
        return _adam(spec, named.values(), moments)
    return MuonWithAdamW(
        [p for name, p in named.items() if name in hidden],
        _adam(spec, [p for name, p in named.items() if name not in hidden], moments),
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        ns_steps=spec.ns_steps,
        adjust_lr=spec.adjust_lr,
        kept_in=TYPES[moments],
    )


def _adam(spec: AdamW | Muon, parameters: Collection[nn.Parameter], moments: FloatType) -> torch.optim.AdamW:
    """AdamW, in one kernel on GPUs.

    On CPUs that kernel rounds the last elements of a shard otherwise than the rest, so that equal rows would drift
    apart; and there the loop over tensors is as fast.
    """
    groups, fused = _groups(parameters, spec.weight_decay, moments), all(p.is_cuda for p in parameters)
    cls = torch.optim.AdamW if moments == "fp32" else AdamWInBf16
    return cls(groups, lr=spec.lr, betas=(spec.beta1, spec.beta2), eps=spec.eps, fused=fused)


def _groups(parameters: Collection[nn.Parameter], weight_decay: float, moments: FloatType) -> list[dict[str, Any]]:
    kept = {KEPT_IN: TYPES[moments]}
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay, **kept},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0, **kept},
    ]
    return [group for group in groups if group["params"]]


def get_state(optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter]) -> State:
    """The live state by parameter name; parameters without state are left out."""
    return {
        name: {key: value for key, value in optimizer.state[parameter].items() if isinstance(value, Tensor)}
        for name, parameter in named.items()
        if optimizer.state.get(parameter)
    }


def set_state(optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter], state: State) -> None:
    """Give parameters the state in `state`, as far as this optimizer has use for it; the others start fresh.

    Moments of another type than this optimizer keeps are replaced in `state`, too: no two of a parameter stay alive.
    Adam's bias correction divides by 1 - beta^step: live moments with step 0 would be blown up, so that is refused.
    """
    groups = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    for name, entry in state.items():
        if "step" in entry and float(entry["step"]) == 0:
            moments = [value for key, value in entry.items() if key != "step"]
            assert not any(bool(local(m).any()) for m in moments), f"{name}: zero step with live moments"
            continue
        parameter = named[name]
        kept = MOMENTUM if "momentum" in groups[parameter] else ADAM
        used = {key: value for key, value in entry.items() if key in kept}
        if used.keys() != kept:
            continue
        for key in kept - {"step"}:
            entry[key] = used[key] = used[key].to(groups[parameter][KEPT_IN])
        if groups[parameter].get("fused"):  # the kernel counts on its own device
            used["step"] = used["step"].to(parameter.device)
        optimizer.state[parameter] = used


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` from now on, in every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], limit: float | None) -> float:
    """Scale gradients so that their global norm is at most `limit`; returns the norm before.

    Experts and dense tensors live on different meshes, which torch's own clipping refuses to mix. Every element of a
    sharded gradient is on one rank of each copy, so one sum of squares over shards is the global norm of both.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    shards = [local(gradient) for gradient in gradients]
    squares = torch.stack([shard.float().square().sum() for shard in shards]).sum()
    alone = not dist.is_initialized() or dist.get_world_size() == 1
    assert alone or all(isinstance(gradient, DTensor) for gradient in gradients), "counted twice"
    squares = over_shards(squares, gradients[0])
    norm = squares.sqrt()
    if limit is not None:
        scale = (limit / (norm + 1e-6)).clamp(max=1.0)
        for shard in shards:
            shard.mul_(scale)
    return float(norm)

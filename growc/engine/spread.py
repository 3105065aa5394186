"""The one file that touches transformers' distributed engine: expert parallelism, and FSDP2 over all that is left.

One rank shards, too, where that is what casts weights to bf16. In fp32 it has nothing to gain from it, and would copy
every weight twice in a step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from transformers import PreTrainedModel
from transformers.distributed.expert_parallel import apply_expert_parallelism

from growc.anatomy.model_graph import ModelGraph
from growc.engine.layout import Layout
from growc.spec.training import FloatType

DISPATCH = "ep_dispatch_experts"
"""transformers' name of the rule for a module of experts whose tokens are exchanged."""

POLICIES: Mapping[FloatType, MixedPrecisionPolicy] = {
    "fp32": MixedPrecisionPolicy(),
    "bf16": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32),
}
"""How weights are gathered and gradients reduced: the shards themselves, and their gradients, are fp32."""

ROUTER = MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float32)
"""Logits of routers are fp32: a rounding would send tokens to other experts."""

SCALING_ROUTER = replace(ROUTER, output_dtype=torch.bfloat16)
"""Where gates scale the tokens that enter the experts, they have the tokens' type."""


def spread(
    model: PreTrainedModel, layout: Layout, device: torch.device, precision: FloatType, graph: ModelGraph
) -> None:
    """Shard a model that is on the meta device, in place; one rank keeps it whole in fp32.

    Args:
        model: with transformers' plans of what is a unit of sharding, and of how experts divide.
        layout: of all ranks.
        device: of this rank.
        precision: what forward and backward compute in.
        graph: what the model is.
    """
    if layout.ranks == 1 and precision == "fp32":
        return
    policy = POLICIES[precision]
    dense = _mesh(device, layout, ("replicate", "fsdp"), (layout.replicate, layout.fsdp))
    experts: list[FSDPModule] = []
    if layout.ep > 1 and model.ep_plan:  # stages before the first mixture have no experts to be spread
        experts = _experts(model, layout, device, policy)
    for site in graph.moe if precision == "bf16" else ():
        fully_shard(model.get_submodule(site.router), mesh=dense,
                    mp_policy=SCALING_ROUTER if site.dense_dispatch else ROUTER)  # fmt: skip
    kept: list[nn.Module] = []
    layers: list[FSDPModule] = []
    for name, style in _units(model, graph):
        module = model.get_submodule(name)
        if style == "keep_full_weight":
            kept.append(module)
        else:
            layers.append(fully_shard(module, mesh=dense, mp_policy=policy))
    if kept:  # the last norm and the head, which are used again as soon as the backward begins
        fully_shard(kept if len(kept) > 1 else kept[0], mesh=dense, mp_policy=policy, reshard_after_forward=False)
    plain = type(model)
    fully_shard(model, mesh=dense, mp_policy=policy)
    # transformers takes a class from elsewhere for a user's, and leaves buffers of such modules as they are.
    type(model).__module__ = plain.__module__
    if experts:
        _prefetch(layers, experts)


def _mesh(device: torch.device, layout: Layout, names: tuple[str, str], sizes: tuple[int, int]) -> DeviceMesh:
    """A mesh of all ranks for FSDP2, which takes two dimensions for copies and shards, and one for shards alone."""
    if layout.replicate > 1:
        return init_device_mesh(device.type, sizes, mesh_dim_names=names)
    return init_device_mesh(device.type, sizes[1:], mesh_dim_names=names[1:])


def _experts(
    model: PreTrainedModel, layout: Layout, device: torch.device, policy: MixedPrecisionPolicy
) -> list[FSDPModule]:
    """Divide experts among groups of `ep` ranks, and shard what each rank then holds over the other groups."""
    sizes = (layout.replicate, layout.fsdp // layout.ep, layout.ep)
    mesh = init_device_mesh(device.type, sizes, mesh_dim_names=("replicate", "efsdp", "ep"))
    alone = init_device_mesh(device.type, (layout.ranks, 1), mesh_dim_names=("all", "tp"))["tp"]
    plan = dict(_expanded(_of_experts(model.ep_plan), [*dict(model.named_modules()), *dict(model.named_parameters())]))
    apply_expert_parallelism(model, mesh["ep"], alone, plan, ep_implementation="all_to_all")
    shards = mesh["replicate", "efsdp"] if layout.replicate > 1 else mesh["efsdp"]
    found: list[FSDPModule] = []
    for name, style in plan.items():
        if style == DISPATCH:
            module = fully_shard(model.get_submodule(name), mesh=shards, mp_policy=policy)
            # Its gradient is the sum over the tokens of all ranks, of which the loss is the mean.
            module.set_gradient_divide_factor(float(layout.ranks))
            if layout.fsdp > layout.ep:  # gloo has no premultiplied sum; without shards FSDP2 divides by itself
                module.set_force_sum_reduction_for_comms(True)
            found.append(module)
    return found


def _of_experts(plan: Mapping[str, str]) -> dict[str, str]:
    """The rules of a plan for experts: some families' plans divide dense layers, too, which FSDP2 shards here."""
    experts = tuple(rule for rule, style in plan.items() if style == DISPATCH)
    return {rule: style for rule, style in plan.items() if f"{rule}.".startswith(tuple(f"{e}." for e in experts))}


def _units(model: PreTrainedModel, graph: ModelGraph) -> Iterator[tuple[str, str]]:
    """What is gathered at once, the innermost first. Modules that share a parameter with what is outside of them are
    left to the root, which is one group.
    """
    ties = (model.all_tied_weights_keys or {}).items()
    rules = {f"{graph.blocks.path}.*": "free_full_weight"}  # some families' plans leave their layers out
    plan = _expanded(rules | model.fsdp_plan, list(dict(model.named_modules())))
    alone = [
        (name, style)
        for name, style in plan
        if not any(one.startswith(f"{name}.") != other.startswith(f"{name}.") for one, other in ties)
    ]
    return iter(sorted(alone, key=lambda unit: -unit[0].count(".")))


def _expanded(plan: Mapping[str, str], names: list[str]) -> Iterator[tuple[str, str]]:
    """The names that a plan's rules stand for; `*` is the number of a layer. Parameters come before their module."""
    rules = [(re.compile(re.escape(rule).replace(r"\*", r"\d+")), style) for rule, style in plan.items()]
    found = [(name, style) for name in names for rule, style in rules if rule.fullmatch(name)]
    return iter(sorted(found, key=lambda entry: -entry[0].count(".")))


def _prefetch(layers: list[FSDPModule], experts: list[FSDPModule]) -> None:
    """Gather the next layer while one computes: where experts exchange tokens, the host waits for their number, and
    does not run ahead of itself.
    """
    inside = [set(map(id, cast(nn.Module, layer).modules())) for layer in layers]
    parts = [[layer, *(e for e in experts if id(e) in ids)] for layer, ids in zip(layers, inside, strict=True)]
    for one, following in pairwise(part for part in parts if len(part) > 1):
        one[0].set_modules_to_forward_prefetch(following)
        following[0].set_modules_to_backward_prefetch(one)

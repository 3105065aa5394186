"""Layers through torch.compile, each by itself, but for their routers and experts.

What routers and experts do depends on the data: which rows go where, and how many. They run as they are, and what is
around them is compiled in pieces. Of the wrappings of a layer the compiled forward is the innermost: FSDP2's hooks
gather weights outside of it, and checkpointing runs it twice. `selective` then keeps the products of experts; what is
compiled is computed again as a whole. Compiled dropout draws other numbers.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import config as dynamo
from torch._dynamo.exc import TorchDynamoException
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import fail
from growc.engine.recompute import seen, unseen

VARIANTS = 8
"""Times that a layer's forward is compiled: in training and in validation, for every size of a batch."""


def compile_layers(model: PreTrainedModel, graph: ModelGraph) -> Callable[[], None]:
    """Compile the layers of a sharded model, in place; returns what takes it back.

    Hooks that are added to the inside of a layer later may not run, but for those of routers and experts.
    """
    layers: list[Any] = [model.get_submodule(f"{graph.blocks.path}.{i}") for i in range(graph.layers)]
    # Beyond its limit torch would run the rest of the layers as they are, which share their code with these.
    limit = max(dynamo.accumulated_recompile_limit, VARIANTS * len(layers))
    undo = ExitStack()
    undo.enter_context(dynamo.patch(recompile_limit=limit, accumulated_recompile_limit=8 * limit))
    kept: dict[Any, None] = {model.get_submodule(name): None for name in _as_they_are(graph)}
    for module in kept:
        module._call_impl = torch.compiler.disable(_seen(module._call_impl))  # noqa: SLF001
        undo.callback(delattr, module, "_call_impl")
    for layer in layers:
        layer.forward = _forward(layer)
        undo.callback(delattr, layer, "forward")
    return undo.close


def _as_they_are(graph: ModelGraph) -> Iterator[str]:
    for site in graph.moe:
        yield from (site.rule, site.router, site.experts)
        yield from (name.rpartition(".")[0] for name in site.adjugates)


def _seen(call: Callable[..., Any]) -> Callable[..., Any]:
    def as_it_is(*given: Any, **named: Any) -> Any:
        with seen():
            return call(*given, **named)

    return as_it_is


def _forward(layer: Any) -> Callable[..., Any]:
    """The forward of a layer, compiled inside of its checkpointing."""
    compiled = torch.compile(MethodType(_inmost(layer), layer))

    def inside(*given: Any, **named: Any) -> Any:
        with unseen():
            return compiled(*given, **named)

    def forward(*given: Any, **named: Any) -> Any:
        if layer.training and getattr(layer, "gradient_checkpointing", False):
            return layer._gradient_checkpointing_func(partial(inside, **named), *given)  # noqa: SLF001
        return inside(*given, **named)

    return forward


def _inmost(layer: nn.Module) -> Callable[..., Any]:
    """What the class of a layer computes, without the wrapping by which transformers checkpoints.

    FSDP2 gives a layer that it shards a class of its own, of whose wrappings just the outermost checkpoints. Layers
    that share parameters with others keep their class.
    """
    kind: Any = type(layer)
    if isinstance(layer, FSDPModule):
        return kind.__mro__[2].forward
    return kind.forward.__wrapped__ if isinstance(layer, GradientCheckpointingLayer) else kind.forward


def hold_compiler(device: torch.device) -> None:
    """Compile something small, for a run is not to find in its first step that it cannot.

    Errors: GROW608.
    """

    def function(numbers: Tensor) -> Tensor:
        return numbers.sin() + 1

    try:
        torch.compile(function)(torch.zeros(16, device=device))
    except TorchDynamoException as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        fail("GROW608", f"torch.compile does not work on {platform.node()}: {reason}",
             help="install a C++ compiler, or leave kernels.compile at false")  # fmt: skip

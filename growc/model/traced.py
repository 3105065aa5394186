"""A model of a config, traced by the first blocks that show all kinds of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import fx
from torch.fx.proxy import TraceError

from growc.anatomy.model_graph import Blocks
from growc.diagnostics import fail
from growc.model import axes, layers
from growc.model.build import REFUSALS, build_meta
from growc.model.trace import trace

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

TRACE_LENGTH = 64
"""Positions in the traced sequence; the cost at every other length follows from the cost at this one."""


@dataclass(frozen=True)
class Traced:
    """A model on the meta device, its `blocks` and how its config states `depth`; and the trace of a shorter one.

    `graph` is the trace of `model`, a model of `small`: one block of each kind is in it, and stands for all that are
    built alike. `whole` is the model of `config`.
    """

    config: PreTrainedConfig
    whole: PreTrainedModel
    blocks: Blocks
    depth: axes.Depth
    small: PreTrainedConfig
    model: PreTrainedModel
    graph: fx.GraphModule


def trace_kinds(config: PreTrainedConfig) -> Traced:
    """Build and trace a model.

    Raises:
        GrowcError: GROW204, if it cannot be traced.
    """
    whole = build_meta(config)
    blocks = layers.blocks(whole)
    depth = axes.depth_of(config, len(blocks.letters))
    small = axes.reduction(config, whole, blocks, depth)
    model = whole if small is config else build_meta(small)
    return Traced(config, whole, blocks, depth, small, model, _graph(model))


def _graph(model: PreTrainedModel) -> fx.GraphModule:
    try:
        return trace(model, TRACE_LENGTH)
    except (*REFUSALS, TraceError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300]
        fail(
            "GROW204",
            f"{model.config.model_type} cannot be traced: {type(error).__name__}: {reason}",
            help="sizes that do not fit together, or code that depends on the values of tensors",
        )

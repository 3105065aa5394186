"""What a device needs, in bytes, from the sizes of a model and its layout alone.

fp32 shards, their gradients and Adam's two moments are 16 bytes an element, 12 with moments in bf16. A shard has whole
rows: of a dense tensor ceil(rows / fsdp), of a stack of experts ceil(experts / ep / (fsdp / ep)). Weights are gathered
in bf16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from growc.anatomy.model_graph import ModelGraph
from growc.engine.head import CHUNK
from growc.engine.layout import Layout
from growc.spec.training import FloatType

STATES: Mapping[FloatType, int] = {"fp32": 16, "bf16": 12}
"""Bytes of an element, by the type of moments: fp32 weight, gradient, and two moments."""


def held(graph: ModelGraph, layout: Layout) -> int:
    """Elements of all parameters that the fullest device holds."""
    experts = {name for site in graph.moe for name in site.expert_tensors}
    total = 0
    for name, tensor in graph.tensors.items():
        if tensor.kind == "parameter":
            rows = tensor.shape[0]
            if name in experts:
                rows = math.ceil(rows / layout.ep)
                rows = math.ceil(rows / (layout.fsdp // layout.ep))
            else:
                rows = math.ceil(rows / layout.fsdp)
            total += rows * math.prod(tensor.shape[1:])
    return total


def growing(source: ModelGraph, grown: ModelGraph, layout: Layout, moments: FloatType = "fp32") -> int:
    """The most that is alive in a growth: both models and the moments of both, none of which has a gradient.

    Not in it: the rows of one stack of experts that travel, at most twice what this device holds of it.
    """
    return (STATES[moments] - 4) * (held(source, layout) + held(grown, layout))


def kept_by_a_layer(config: Mapping[str, Any], tokens: int) -> int:
    """What a mixture keeps for the backward under full checkpointing: its input in bf16.

    Not in it: the router's choice, 8 bytes for each of K experts, and under exclusive routing masks over siblings.
    """
    return tokens * 2 * config["hidden_size"]


def transient(graph: ModelGraph, layout: Layout) -> int:
    """The most that is alive for a moment: in the loss, or when the experts of one layer have their gradients.

    These are bf16 weights that are gathered (2 bytes an element), those of the layer that is next in the backward (2),
    bf16 gradients (2) and the fp32 buffer from which they are reduced (4).
    """
    (site, *_) = graph.moe
    experts = sum(graph.tensors[name].size for name in site.expert_tensors) // layout.ep
    return max(head(graph.config), 10 * experts)


def head(config: Mapping[str, Any]) -> int:
    """The most that the head and the loss need at once, beside the weights: its own gradients, and a chunk's logits.

    Per element of the head: bf16 gathered weight (2), the sum of gradients (4), one chunk's gradient (2). Per logit of
    a chunk: bf16 logits (2), fp32 logits (4), their log-softmax (4), and gradients of both (8).
    """
    weight = config["vocab_size"] * config["hidden_size"]
    return 8 * weight + 18 * CHUNK * config["vocab_size"]

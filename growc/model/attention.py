"""Attention as one opaque node of the trace, and the FLOP formulas torch lacks.

Under the name `growc` transformers finds an attention that computes nothing, and for which it builds no mask:
a trace keeps one node per attention, with its window. There is no kernel: such a model can be measured, not
run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

NAME = "growc"


@torch.library.custom_op("growc::attention", mutates_args=())
def attention(q: Tensor, k: Tensor, v: Tensor, more: list[Tensor], window: int, scale: float) -> Tensor:
    """(B, H, S, D), (B, K, S, D), (B, K, S, V) -> (B, S, H, V). `window` 0 means unlimited.

    `more` are further tensors that the model's attention takes (sinks, relative positions, a learned mask).
    """
    raise NotImplementedError("growc::attention is for analysis on the meta device")


@attention.register_fake
def _shape(q: Tensor, k: Tensor, v: Tensor, _more: object, _window: int, _scale: float) -> Tensor:
    if q.shape[1] % k.shape[1] or k.shape[1] != v.shape[1] or q.shape[-1] != k.shape[-1]:
        raise ValueError(f"queries {list(q.shape)} do not fit keys {list(k.shape)} and values {list(v.shape)}")
    return q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[-1])


def attention_window(module: nn.Module, sliding_window: int | None) -> int:
    """How far back a layer looks (0: no limit): its sliding window, or its chunk in chunked attention."""
    if sliding_window:
        return sliding_window
    config, layer = getattr(module, "config", None), getattr(module, "layer_idx", None)
    kinds: Sequence[str] | None = getattr(config, "layer_types", None)
    chunked = kinds is not None and isinstance(layer, int) and kinds[layer] == "chunked_attention"
    return (getattr(config, "attention_chunk_size", None) or 0) if chunked else 0


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    window = attention_window(module, sliding_window)
    tensors = [item for item in (attention_mask, *more.values()) if isinstance(item, Tensor | fx.Proxy)]
    return torch.ops.growc.attention(query, key, value, tensors, window, scaling or 0.0), None


def register() -> None:
    """Make `attn_implementation="growc"` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _forward)


def attention_flops(q: Sequence[int], k: Sequence[int], v: Sequence[int], window: int) -> int:
    """FLOPs of one attention from its operands' shapes; every position in the window counts, masked too."""
    batch, heads, length, qk_width = q
    reach = min(k[2], window) if window else k[2]
    return 2 * batch * heads * length * reach * (qk_width + v[-1])


def _attention_formula(
    q: Sequence[int], k: Sequence[int], v: Sequence[int], _more: Any, window: int, *_: Any, **__: Any
) -> int:
    return attention_flops(q, k, v, window)


def _grouped_mm_formula(tokens: Sequence[int], experts: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * tokens[0] * tokens[1] * experts[-1]


_GROUPED_MM = torch.ops.aten._grouped_mm  # noqa: SLF001  (the public function has no FLOP formula either)

FLOP_FORMULAS: dict[Any, Callable[..., int]] = {
    _GROUPED_MM: _grouped_mm_formula,
    torch.ops.growc.attention: _attention_formula,
}
"""For FlopCounterMode, which counts a grouped matrix product as nothing."""

"""Where a model can grow: plain descriptions of the places, found by tracing and read by operators."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SiteKind(StrEnum):
    """The kinds of places that operators grow."""

    MOE = "moe"
    FFN = "ffn"
    ATTENTION = "attention"
    BLOCK = "block"


@dataclass(frozen=True)
class MoeSite:
    """One mixture-of-experts layer. Tensor names are those of the in-memory model.

    `expert_tensors` have the expert axis (length `num_experts`) as dimension 0, and so do `router_rows`
    (the router's weight, and its logit bias where it has one). `selection_bias` is a buffer of shape
    (num_experts,) that is added to the scores for the choice of experts only (loss-free balancing, arXiv
    2408.15664). `routing_groups` is DeepSeek's `n_group`. With `dense_dispatch` every expert sees every
    token, scaled by its gate (Llama 4).
    """

    layer: int
    block: str
    router: str
    experts: str
    num_experts: int
    top_k: int
    expert_tensors: tuple[str, ...]
    router_rows: tuple[str, ...]
    selection_bias: str | None = None
    routing_groups: int = 1
    dense_dispatch: bool = False

    @property
    def name(self) -> str:
        """The module path of the block, unique in the model."""
        return self.block


@dataclass(frozen=True)
class FfnSite:
    """A dense feed-forward network: linear maps `up` into `width`, and `down` back to the residual stream."""

    layer: int
    block: str
    up: tuple[str, ...]
    down: str
    width: int

    @property
    def name(self) -> str:
        """The module path of the block, unique in the model."""
        return self.block


@dataclass(frozen=True)
class AttentionSite:
    """One attention: module names of its projections, and its head counts and widths."""

    layer: int
    query: tuple[str, ...]
    key: tuple[str, ...]
    value: tuple[str, ...]
    output: str | None
    heads: int
    kv_heads: int
    qk_width: int
    v_width: int
    window: int | None = None

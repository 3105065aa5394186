"""Where a model can grow: plain descriptions of the places, found by tracing and read by operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal


class SiteKind(StrEnum):
    """The kinds of places that operators grow."""

    MOE = "moe"
    FFN = "ffn"
    ATTENTION = "attention"
    BLOCK = "block"


@dataclass(frozen=True)
class Units:
    """Where the intermediate units of an expert lie in one of its tensors.

    They run along dimension `dim` of one expert's part of `tensor` (so dimension `dim` + 1 of the stack of all
    experts), which holds `times` positions for each of its n units: a gate and an up projection fused into one tensor
    have two. Position t of unit u is `u * times + t` where they are `interleaved`, and `t * n + u` where each of the
    `times` matrices is whole. A `down` tensor maps units back to the residual stream (fc2); the others lead to units
    (fc1).
    """

    tensor: str
    dim: int
    times: int
    interleaved: bool
    down: bool


@dataclass(frozen=True)
class Repetition:
    """What a router makes of logits that each stand there several times, when it chooses as many times more experts.

    With `same_choice` it chooses all siblings of what it chose before (routing in groups by the sum of a group's best
    may not). The gates of siblings either add up to their source's (renormalised, or a softmax over all experts), or
    each is as large as it (independent sigmoids): `gates_add_up`. With `scores_shrink` selection scores are divided by
    the number of siblings (a softmax over all), and a selection bias must be too.
    """

    same_choice: bool
    gates_add_up: bool
    scores_shrink: bool


@dataclass(frozen=True)
class FfnSite:
    """A dense feed-forward network: linear maps `up` into `width`, and `down` back to the residual stream.

    It counts as a layer with one expert, that every token gets. With `transposed` maps hold (inputs, outputs), as
    GPT-2's do, and not (outputs, inputs).
    """

    layer: int
    block: str
    up: tuple[str, ...]
    down: str
    width: int
    transposed: bool = False

    num_experts: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """The module path of the block, unique in the model."""
        return self.block

    @property
    def into(self) -> tuple[str, ...]:
        """The tensors, as far as they exist, that have a row for each unit, unless they are transposed."""
        return tuple(f"{up}.{kind}" for up in self.up for kind in ("weight", "bias"))

    @property
    def back(self) -> str:
        """The tensor that has a column for each unit, unless it is transposed."""
        return f"{self.down}.weight"


@dataclass(frozen=True)
class MoeSite:
    """One mixture-of-experts layer. Tensor names are those of the in-memory model.

    `expert_tensors` have the expert axis (length `num_experts`) as dimension 0, and so do `router_rows`
    (the router's weight, and its logit bias where it has one). `selection_bias` is a buffer or parameter of shape
    (num_experts,) that is added to the scores for the choice of experts only (loss-free balancing, arXiv
    2408.15664). `per_expert` are further vectors of that shape (scales of gates, say), and `unknown` the tensors whose
    size moves with the number of experts in another way: a layer that has some cannot grow. `rule` is the module that
    makes a choice and gates of the logits: the router, or one around it; without `rule_adds_bias` the selection bias
    is added outside of it. `routing_groups` is DeepSeek's `n_group`, and `active_groups` its `topk_group`. With
    `dense_dispatch` every expert sees every token, scaled by its gate (Llama 4). `units` has an entry for every expert
    tensor that has the axis of intermediate units, and none at all where it could not be found; `width` is how many
    units each expert has, or 0. `repetition` is None where the router cannot be tried.
    `siblings` has the sizes of the groups of siblings in slot order, where the layer routes exclusively. `shared` are
    the experts that every token gets, where an operator changes them too. `adjugates` are the tensors of small experts
    that groups of experts share, with the axis of groups as dimension 0.
    """

    layer: int
    block: str
    router: str
    experts: str
    num_experts: int
    top_k: int
    expert_tensors: tuple[str, ...]
    router_rows: tuple[str, ...]
    rule: str
    selection_bias: str | None = None
    rule_adds_bias: bool = True
    per_expert: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    routing_groups: int = 1
    active_groups: int = 1
    dense_dispatch: bool = False
    units: tuple[Units, ...] = ()
    width: int = 0
    repetition: Repetition | None = None
    siblings: tuple[int, ...] = ()
    shared: tuple[FfnSite, ...] = ()
    adjugates: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The module path of the block, unique in the model."""
        return self.block


@dataclass(frozen=True)
class MoeRequest:
    """Mixtures of experts that are to take the place of dense feed-forward networks.

    In each of `layers` there are `experts` with `width` intermediate units, and a router that gives every token `top_k`
    of them: scores are a softmax over all experts, and `gates` are those of the chosen ones, or these `renormalised` to
    a sum of 1. Without `stock` no class of transformers is asked, since what is made of the mixtures fits none.
    """

    layers: tuple[int, ...]
    experts: int
    top_k: int
    width: int
    gates: Gates = "renormalised"
    stock: bool = True


Gates = Literal["renormalised", "softmax"]


@dataclass(frozen=True)
class ResolvedMoe:
    """A model that holds the mixtures of a request: its config, and the places of a dense network's `up` maps in an
    expert's tensor.

    `routers` are the module paths of its routers by layer.
    """

    config: Mapping[str, Any]
    order: tuple[int, ...]
    routers: Mapping[int, str]


@dataclass(frozen=True)
class Heads:
    """Where the heads of a projection lie: those of head h are the outputs `start + h * stride` and on, of its map.

    The map's weight has `rows`: its outputs, or its inputs where it is `transposed`, as GPT-2's are.
    """

    start: int
    stride: int
    rows: int
    transposed: bool


@dataclass(frozen=True)
class AttentionSite:
    """One attention: module names of its projections, and its head counts and widths.

    `inputs` is how wide the tokens are that enter its queries and keys, or 0 where those are not the same tokens.
    `query_heads` and `key_heads` are None where they are not the outputs of linear maps of one input. `key_value` are
    the modules that make keys and values, norms behind their projections too. `router` gives an attention expert its
    gate, where the layer has several attentions.
    """

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
    inputs: int = 0
    query_heads: Heads | None = None
    key_heads: Heads | None = None
    value_heads: Heads | None = None
    key_value: tuple[str, ...] = ()
    router: str | None = None

    @property
    def projections(self) -> tuple[str, ...]:
        """Module names of all its projections."""
        return (*self.query, *self.key, *self.value, *((self.output,) if self.output else ()))

"""What a model is, as frozen data without torch: its tensors, sites, axes and cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from growc.anatomy.sites import AttentionSite, FfnSite, MoeSite


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the model's state, under its name in memory; `dtype` is torch's name ("bfloat16")."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: Literal["parameter", "buffer"]

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True)
class AxisDim:
    """Dimension `dim` of `tensor` grows by `factor` for each unit that the axis' field grows."""

    tensor: str
    dim: int
    factor: float


@dataclass(frozen=True)
class Axis:
    """A config field of value `size` and every tensor dimension that moves with it.

    `structural` fields also change which tensors exist (the number of leading dense layers, say).
    """

    field: str
    size: int
    dims: tuple[AxisDim, ...]
    structural: bool = False


@dataclass(frozen=True)
class Blocks:
    """The repeated residual blocks: modules `{path}.{i}`, with one letter per layer.

    Blocks share a letter when their classes, tensor shapes and scalar attributes (a window, say) are the same; blocks
    of different models are then alike in `kinds`, which have a digest of all these for each layer.
    """

    path: str
    letters: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """Run-length form: three dense layers and 58 sparse ones are `A3B58`, an alternation `(AB)18`."""
        whole = len(self.letters)
        for period in range(2, whole // 2 + 1):
            unit = self.letters[:period]
            if whole % period == 0 and len(set(unit)) > 1 and unit * (whole // period) == self.letters:
                return f"({_runs(unit)}){whole // period}"
        return _runs(self.letters)


def _runs(letters: tuple[str, ...]) -> str:
    lengths = ((letter, len(list(run))) for letter, run in groupby(letters))
    return "".join(f"{letter}{length if length > 1 else ''}" for letter, length in lengths)


@dataclass(frozen=True)
class AttentionTerm:
    """Attention FLOPs per token and per position looked at, summed over the layers that share a `window`.

    Counted as 2·heads·(qk width + v width), over the whole window (not the causal half).
    """

    flops_per_position: float
    window: int | None


@dataclass(frozen=True)
class Cost:
    """Parameters, and forward FLOPs per token at `sequence_length`: 2 per multiply-add of matrix products.

    `active_params` counts of each expert tensor the share top_k / experts, and of adjugates, which groups of experts
    share, the most that top_k experts can hit (as the FLOPs do): top_k / groups. `linear_flops` is the limit of a
    sequence of length zero. `parts` splits `flops_per_token`: attention_projections, attention, router,
    experts, shared (experts that every token sees), dense_ffn, head, other. With dense dispatch, experts
    count as if only top_k were computed.
    """

    total_params: int
    active_params: int
    linear_flops: float
    attention_terms: tuple[AttentionTerm, ...]
    parts: Mapping[str, float]
    sequence_length: int

    @property
    def attention_flops_per_position(self) -> float:
        """Attention FLOPs per token per unit of sequence length, before any window saturates."""
        return sum(term.flops_per_position for term in self.attention_terms)

    @property
    def flops_per_token(self) -> float:
        """Forward FLOPs per token at `sequence_length`, router included."""
        return sum(self.parts.values())

    @property
    def router_flops_per_token(self) -> float:
        """The routers' share of `flops_per_token`."""
        return self.parts["router"]

    def at(self, sequence_length: int) -> Cost:
        """The same model's cost at another sequence length."""
        reach = sum(
            t.flops_per_position * min(sequence_length, t.window or sequence_length) for t in self.attention_terms
        )
        return replace(self, parts={**self.parts, "attention": reach}, sequence_length=sequence_length)


@dataclass(frozen=True)
class ModelGraph:
    """A traced model.

    `model_type` is transformers' name of the family, after "grown" for what only growc loads.
    `config` is the canonical Hugging Face config: every field explicit, aliases resolved (`num_experts` of
    Qwen3-MoE is `num_local_experts`), bookkeeping left out. `tensors` holds parameters and persistent buffers
    in model order, tied parameters once; `tied` maps their further names to the first. `layers_field`,
    `expert_field` and `top_k_field` are the config keys that set depth, number of experts and how many of
    them a token gets, `layer_lists` those that hold one value per layer. `unreached` are parameters that the
    forward pass never touches. `names` are the family's own names of standard keys, where they differ.
    `near_miss` says why growc found no dense feed-forward network, where something was like one.
    """

    model_type: str
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    tied: Mapping[str, str]
    moe: tuple[MoeSite, ...]
    ffn: tuple[FfnSite, ...]
    attention: tuple[AttentionSite, ...]
    blocks: Blocks
    axes: tuple[Axis, ...]
    expert_field: str | None
    top_k_field: str | None
    layers_field: str | None
    layer_lists: tuple[str, ...]
    cost: Cost
    unreached: tuple[str, ...]
    names: Mapping[str, str]
    near_miss: str

    @property
    def layers(self) -> int:
        """Number of residual blocks."""
        return len(self.blocks.letters)

    @property
    def active_params(self) -> int | None:
        """Parameters that a token meets; None where there are experts that growc did not find."""
        return self.cost.active_params if self.unseen_experts is None else None

    @property
    def unseen_experts(self) -> str | None:
        """What a config key that counts experts changes outside of all mixtures found, if it changes something there:
        a tensor, or the key itself where it changes which tensors there are.
        """
        found = tuple(f"{self.blocks.path}.{site.layer}." for site in self.moe)
        for axis in self.axes:
            if "expert" in axis.field and axis.size > 1:
                apart = [dim.tensor for dim in axis.dims if not dim.tensor.startswith(found)]
                if apart or (axis.structural and not self.moe):
                    return apart[0] if apart else axis.field
        return None

    @property
    def expert_vectors(self) -> frozenset[str]:
        """The tensors with one number for each expert: selection biases, biases of logits, and others."""
        axis = next((axis for axis in self.axes if axis.field == self.expert_field), None)
        moved = {dim.tensor for dim in axis.dims} if axis else set[str]()
        return frozenset(name for name in moved if max(self.tensors[name].shape) == self.tensors[name].size)

    def fields_of(self, tensor: str, dim: int) -> tuple[str, ...]:
        """The config fields that move one dimension of a tensor."""
        return tuple(axis.field for axis in self.axes if any(d.tensor == tensor and d.dim == dim for d in axis.dims))

"""Tiny models as the engine builds them, with weights drawn by a seed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from growc.engine.distribute import build_model, local, named_state
from growc.engine.layout import Layout
from growc.engine.losses import ready_head
from growc.engine.sharded import rows_held
from growc.growth.rewrite import rewrite
from growc.model import inspect
from growc.operators import operator
from growc.spec.kernels import Kernels
from growc.spec.training import FloatType
from tests.families import FAMILIES, SIZES
from tests.operators_cases import EXACT

compiles = pytest.mark.skipif(
    os.environ.get("ATEN_CPU_CAPABILITY") == "default",
    reason="with this setting torch's compiler writes code that no C++ compiler takes",
)
"""For tests that compile layers."""

LENGTH = 32

NEMOTRON: dict[str, Any] = dict(
    SIZES, model_type="nemotron_h", layers_block_type=["moe", "attention"], intermediate_size=48, n_routed_experts=8,
    n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=16, moe_shared_expert_intermediate_size=16,
    n_group=1, topk_group=1, mamba_num_heads=4, mamba_head_dim=8, n_groups=1, ssm_state_size=8, chunk_size=8,
)  # fmt: skip
"""A model whose experts have no gates."""

HEADS: dict[str, dict[str, Any]] = {
    "capped": dict(SIZES, model_type="gemma2", intermediate_size=48, final_logit_softcapping=3.0),
    "scaled": dict(SIZES, model_type="cohere", intermediate_size=48, logit_scale=0.3),
    "divided": dict(SIZES, model_type="granite", intermediate_size=48, logits_scaling=3.0),
    "biased": dict(
        {key: value for key, value in SIZES.items() if key != "head_dim"}, model_type="phi", intermediate_size=48
    ),
    "tied": dict(SIZES, model_type="llama", intermediate_size=48, tie_word_embeddings=True),
}
"""Models that do something to the logits behind their head, or whose head is more than a matrix of its own."""

OTHERS: dict[str, dict[str, Any]] = {
    "shared": dict(
        model_type="zamba", vocab_size=256, hidden_size=32, attention_hidden_size=64, attention_head_dim=16,
        intermediate_size=48, num_hidden_layers=4, layers_block_type=["mamba", "hybrid"] * 2, num_attention_heads=4,
        num_key_value_heads=4, n_mamba_heads=2, mamba_d_state=8, mamba_dt_rank=4, use_mamba_kernels=False,
    ),
    "computed": dict(
        model_type="rwkv", vocab_size=256, hidden_size=32, attention_hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, context_length=128,
    ),
    "divided": dict(
        SIZES, model_type="gemma4_text", intermediate_size=48, enable_moe_block=True, num_experts=8, top_k_experts=2,
        moe_intermediate_size=16, layer_types=["sliding_attention", "full_attention"], sliding_window=16,
        hidden_size_per_layer_input=0, global_head_dim=8,
    ),
}  # fmt: skip
"""Models whose layers share parameters, whose initialisation computes with them, and whose plan for experts divides
dense layers, too."""


def grown(family: str) -> dict[str, Any]:
    """The config of a family's tiny model whose experts were doubled under exclusive routing."""
    source = inspect(FAMILIES[family], LENGTH)
    grows = operator("expert_upcycling").model_validate(EXACT)
    return dict(rewrite(grows, source, seed="0", sequence_length=LENGTH).grown.config)


def from_dense(family: str) -> dict[str, Any]:
    """The config of a dense family's tiny model in which a mixture of growc's own has taken the networks' place."""
    dense = inspect(FAMILIES[family], LENGTH)
    grows = operator("sparse_upcycling").model_validate({"experts": 4, "top_k": 2})
    return dict(rewrite(grows, dense, seed="0", sequence_length=LENGTH).grown.config)


def with_adjugates(family: str) -> dict[str, Any]:
    """The config of a family's tiny model whose groups of experts share adjugates."""
    source = inspect(FAMILIES[family], LENGTH)
    grows = operator("grove").model_validate({"width": 8})
    return dict(rewrite(grows, source, seed="0", sequence_length=LENGTH).grown.config)


def built(
    config: Mapping[str, Any],
    layout: Layout | None = None,
    precision: FloatType = "fp32",
    std: float = 0.1,
    kernels: Kernels | None = None,
) -> PreTrainedModel:
    """The model of a config in training, with the same weights on every layout."""
    model = build_model(config, layout or Layout(1, 1), torch.device("cpu"), 0, precision, kernels or Kernels())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in named_state(model).items():
            whole = std * torch.randn(tensor.shape, generator=generator)
            if whole.dim() == 1:  # gains of norms, and biases that leave the routers a choice
                whole = whole / 10 + (0 if "bias" in name else 1)
            held = rows_held(tensor)
            if tensor.is_floating_point():
                local(tensor).copy_(whole[held.start : held.stop] if whole.dim() else whole)
    ready_head(model, torch.device("cpu"))
    return model.train()


def text(sequences: int, seed: int = 0) -> Tensor:
    """Random tokens, of shape (sequences, LENGTH + 1)."""
    return torch.randint(256, (sequences, LENGTH + 1), generator=torch.Generator().manual_seed(seed))

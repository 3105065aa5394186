"""Tiny configs of thirteen model families, as Hugging Face config mappings, for every battery of tests.

Every size is set explicitly, so that no library default leaks in: width 32, two or three layers, eight
experts, two of them active (one for Llama 4), a vocabulary of 256 so that bytes are tokens.
"""

from __future__ import annotations

from typing import Any

SIZES: dict[str, Any] = dict(
    vocab_size=256,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=128,
    initializer_range=0.1,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
"""Shared by all families but GPT-2, whose keys have other names."""

DEEPSEEK: dict[str, Any] = dict(
    {key: value for key, value in SIZES.items() if key != "head_dim"},
    model_type="deepseek_v3",
    num_hidden_layers=3,
    num_key_value_heads=4,
    intermediate_size=48,
    moe_intermediate_size=16,
    n_shared_experts=1,
    n_routed_experts=8,
    num_experts_per_tok=2,
    first_k_dense_replace=1,
    kv_lora_rank=16,
    q_lora_rank=24,
    qk_rope_head_dim=8,
    qk_nope_head_dim=8,
    v_head_dim=16,
    n_group=1,
    topk_group=1,
    norm_topk_prob=True,
    routed_scaling_factor=2.5,
)

FAMILIES: dict[str, dict[str, Any]] = {
    # dense
    "llama": dict(SIZES, model_type="llama", intermediate_size=48),
    "qwen3": dict(SIZES, model_type="qwen3", intermediate_size=48),
    "gpt2": dict(
        model_type="gpt2",
        vocab_size=256,
        n_positions=128,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_inner=48,
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "olmo2": dict(SIZES, model_type="olmo2", intermediate_size=48),
    # mixtures of experts
    "mixtral": dict(
        SIZES,
        model_type="mixtral",
        intermediate_size=48,
        num_local_experts=8,
        num_experts_per_tok=2,
        sliding_window=None,
    ),
    "qwen3_moe": dict(
        SIZES,
        model_type="qwen3_moe",
        intermediate_size=48,
        moe_intermediate_size=16,
        num_local_experts=8,
        num_experts_per_tok=2,
        decoder_sparse_step=1,
        norm_topk_prob=True,
    ),
    "olmoe": dict(SIZES, model_type="olmoe", intermediate_size=16, num_experts=8, num_experts_per_tok=2),
    "deepseek_v3": DEEPSEEK,
    "deepseek_v3_groups": dict(DEEPSEEK, n_group=2, topk_group=1),
    "glm4_moe": dict(
        SIZES,
        model_type="glm4_moe",
        num_hidden_layers=3,
        intermediate_size=48,
        moe_intermediate_size=16,
        n_shared_experts=1,
        n_routed_experts=8,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
        attention_bias=True,
        use_qk_norm=True,
    ),
    "llama4_text": dict(
        SIZES,
        model_type="llama4_text",
        intermediate_size=16,
        intermediate_size_mlp=48,
        num_local_experts=8,
        num_experts_per_tok=1,
        interleave_moe_layer_step=2,
        attention_chunk_size=16,
    ),
    "gpt_oss": dict(
        SIZES,
        model_type="gpt_oss",
        intermediate_size=16,
        num_local_experts=8,
        num_experts_per_tok=2,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
    "phimoe": dict(
        SIZES,
        model_type="phimoe",
        intermediate_size=16,
        num_local_experts=8,
        num_experts_per_tok=2,
        sliding_window=None,
        attention_bias=True,
        lm_head_bias=True,
    ),
    "granitemoe": dict(
        SIZES,
        model_type="granitemoe",
        intermediate_size=16,
        num_local_experts=8,
        num_experts_per_tok=2,
        tie_word_embeddings=True,
    ),
}
"""Thirteen families; DeepSeek-V3 twice, once with its experts routed in groups."""

MOE_FAMILIES: tuple[str, ...] = tuple(name for name, config in FAMILIES.items() if "num_experts_per_tok" in config)
"""The families with mixture-of-experts layers."""

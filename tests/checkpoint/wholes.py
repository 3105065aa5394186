"""Tiny whole models in the shapes of published ones: a language model with a tower for pictures beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.checkpoint.folders import Place
from tests.families import SIZES
from tests.operators_cases import EXACT

QWEN_TEXT: dict[str, Any] = SIZES | {
    "layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2], "partial_rotary_factor": 1.0,
        "mrope_interleaved": True,
    },
}  # fmt: skip
QWEN: dict[str, Any] = {
    "vision_config": {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 4, "out_hidden_size": 32,
        "num_position_embeddings": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
    },
    "image_token_id": 250, "video_token_id": 251, "vision_start_token_id": 252, "vision_end_token_id": 253,
    "tie_word_embeddings": False,
}  # fmt: skip

TIED = {key: value for key, value in SIZES.items() if key != "tie_word_embeddings"}

WHOLES: dict[str, dict[str, Any]] = {
    "qwen3_5_moe": QWEN | {
        "model_type": "qwen3_5_moe",
        "text_config": QWEN_TEXT | {
            "model_type": "qwen3_5_moe_text", "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
            "num_experts": 8, "num_experts_per_tok": 2,
        },
    },
    "qwen3_5": QWEN | {
        "model_type": "qwen3_5",
        "text_config": QWEN_TEXT | {"model_type": "qwen3_5_text", "intermediate_size": 48},
    },
    "llama4": {
        "model_type": "llama4",
        "text_config": SIZES | {
            "model_type": "llama4_text", "intermediate_size": 16, "intermediate_size_mlp": 48, "num_local_experts": 8,
            "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "attention_chunk_size": 16,
        },
        "vision_config": {
            "model_type": "llama4_vision_model", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 64, "patch_size": 4, "image_size": 16, "vision_output_dim": 16,
            "projector_input_dim": 16, "projector_output_dim": 16, "pixel_shuffle_ratio": 0.5,
        },
        "boi_token_index": 250, "eoi_token_index": 251, "image_token_index": 252,
    },
    "gemma4": {
        "model_type": "gemma4",
        "text_config": TIED | {
            "model_type": "gemma4_text", "intermediate_size": 48, "pad_token_id": 0, "enable_moe_block": True,
            "num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 16, "hidden_size_per_layer_input": 0,
            "num_kv_shared_layers": 0, "global_head_dim": 8, "layer_types": ["sliding_attention", "full_attention"],
        },
        "vision_config": {
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
            "head_dim": 8, "intermediate_size": 16, "patch_size": 4,
        },
    },
    "mistral3": {
        "model_type": "mistral3",
        "text_config": SIZES | {"model_type": "mistral", "intermediate_size": 48},
        "vision_config": {
            "model_type": "pixtral", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "patch_size": 4, "image_size": 16, "head_dim": 8,
        },
        "tie_word_embeddings": False,
    },
}  # fmt: skip

TEXT_OF = {
    "qwen3_5_moe": "model.language_model.", "qwen3_5": "model.language_model.", "llama4": "language_model.",
    "gemma4": "model.language_model.", "mistral3": "language_model.",
}  # fmt: skip
"""How the names of the language model begin on disk."""


def whole(root: Path, family: str, *operators: dict[str, Any], fused: bool = False, vision_layers: int = 1) -> Place:
    """A folder with a whole model, and a spec that grows it by its path; experts are stored fused if asked."""
    there = Place(root)
    torch.manual_seed(0)
    given = json.loads(json.dumps(WHOLES[family]))
    if family == "llama4":
        given["vision_config"]["num_hidden_layers"] = vision_layers
    config = CONFIG_MAPPING[given["model_type"]].from_dict(given)
    model: Any = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if not tensor.any():
                tensor.copy_(torch.randn(tensor.shape) * 0.1)
    model.save_pretrained(there.source, save_original_format=not fused)
    grow = [given if "op" in given else {"op": "expert_upcycling", **EXACT, **given} for given in operators]
    stages = [{"name": "upcycle", "grow": grow}]
    there.spec.write_text(json.dumps({"growth": 1, "name": "t", "model": {"path": "source"}, "stages": stages}))
    return there

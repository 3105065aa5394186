"""What is trained: a mixture of experts, its batch, and what it computes in."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from growc.data import Tokens
from growc.growth.graph import TrainNode
from growc.growth.open import open_spec
from growc.spec.training import Checkpointing, FloatType


def _qwen(hidden: int, layers: int, heads: int, width: int, experts: int, vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "qwen3_moe", "vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": heads // 2, "head_dim": hidden // heads,
        "intermediate_size": 4 * hidden, "moe_intermediate_size": width, "num_experts": experts,
        "num_experts_per_tok": 4, "norm_topk_prob": True, "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    }  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One model on one device; a batch has `sequences` sequences of `length` tokens, `micro_batch` of them at once."""

    config: dict[str, Any]
    length: int
    sequences: int
    micro_batch: int
    precision: FloatType = "fp32"
    checkpointing: Checkpointing = "none"

    @property
    def tokens(self) -> int:
        """Tokens of a batch."""
        return self.length * self.sequences

    def but(self, **changes: Any) -> Setting:
        """The same, but for `changes`."""
        return replace(self, **changes)

    def spec(self, steps: int) -> dict[str, Any]:
        """The spec of a stage that trains so."""
        return {
            "growth": 1, "name": "throughput", "model": {"config": self.config},
            "data": {
                "tokenizer": "bytes", "sequence_length": self.length, "train": {"kind": "python_source"},
                "validation": {"fraction": 0.05, "sequences": 16},
            },
            "training": {
                "batch_tokens": self.tokens, "micro_batch": self.micro_batch, "precision": self.precision,
                "activation_checkpointing": self.checkpointing, "schedule": {"name": "constant"},
                "balance": {"method": "none"}, "optimizer": {"name": "adamw", "lr": 1e-4, "clip_norm": 1.0},
            },
            "stages": [{"name": "train", "train": {"steps": steps}}],
        }  # fmt: skip

    def node(self, folder: Path, steps: int) -> TrainNode:
        """That stage, as `growc run` has it."""
        path = folder / "throughput.growth.yaml"
        path.write_text(json.dumps(self.spec(steps)), encoding="utf-8")
        (node,) = open_spec(path).graph.nodes
        assert isinstance(node, TrainNode)
        return node

    def data(self) -> Tokens:
        """Tokens drawn at random, enough for some hundred batches."""
        draw = np.random.default_rng(0)
        return Tokens("train", [draw.integers(0, self.config["vocab_size"], 256 * self.tokens, dtype=np.uint16)])


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


CPU = Setting(_qwen(512, 4, 8, 256, 16, 8192), length=512, sequences=4, micro_batch=4)
"""37 M parameters: a step takes a second or two on two cores."""

GPU = Setting(_qwen(2048, 8, 16, 768, 32, 50304), length=4096, sequences=16, micro_batch=4, precision="bf16")
"""1.5 B parameters, 0.5 B of them active."""

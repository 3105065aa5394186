"""Models that are grown, and the layouts on which they are to train."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from growc.engine.layout import Layout
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import inspect
from growc.operators import operator
from growc.spec.training import FloatType

SPECS = Path(__file__).parents[2] / "specs"

TOKENS = 4096
"""In a micro-batch of one sequence."""

DOUBLED: dict[str, Any] = {"factor": 2, "routing": "exclusive", "router": {"init": "copy"}}
"""The growth."""


def config_of(spec: str) -> dict[str, Any]:
    """The config that stands in a spec."""
    return yaml.safe_load((SPECS / spec).read_text(encoding="utf-8"))["model"]["config"]


@dataclass(frozen=True)
class Case:
    """A model before it grows, and where it trains once its experts are doubled.

    `few` are the settings with which it has one layer of each kind; `layers_field` is raised for one more mixture.
    `moments` is the type in which Adam's are kept.
    """

    name: str
    source: dict[str, Any]
    layout: Layout
    few: dict[str, int]
    more: dict[str, Any] = field(default_factory=dict[str, Any])
    moments: FloatType = "fp32"

    def planned(self, extra: int | None = None) -> Rewrite:
        """The growth of the whole model, or of one with one layer of each kind and `extra` mixtures more."""
        source = {**self.source, **self.more}
        if extra is not None:
            source |= self.few
            source["num_hidden_layers"] += extra
        grows = operator("expert_upcycling").model_validate(DOUBLED)
        return rewrite(grows, inspect(source, TOKENS), seed="0", sequence_length=TOKENS)


QWEN = config_of("qwen3_30b_a3b.growth.yaml")
KIMI = config_of("kimi_k2.growth.yaml")
DEEPSEEK = {"vocab_size": 129280, "n_routed_experts": 256, "num_attention_heads": 128, "num_key_value_heads": 128,
            "first_k_dense_replace": 3, "n_group": 8, "topk_group": 4, "routed_scaling_factor": 2.5}  # fmt: skip

CASES = (
    Case("Qwen3-30B-A3B, 128 to 256 experts", QWEN, Layout(64, 8), {"num_hidden_layers": 1}),
    Case("DeepSeek-V3, 256 to 512 experts", KIMI, Layout(512, 8), {"num_hidden_layers": 2, "first_k_dense_replace": 1},
         DEEPSEEK),
    Case("the same, moments in bf16", KIMI, Layout(256, 8), {"num_hidden_layers": 2, "first_k_dense_replace": 1},
         DEEPSEEK, "bf16"),
    Case("Kimi-K2, 384 to 768 experts", KIMI, Layout(512, 8, 2), {"num_hidden_layers": 2, "first_k_dense_replace": 1}),
)  # fmt: skip

"""What a model cannot compute in bf16 is said by a code, before its first step."""

from __future__ import annotations

from typing import Any

import pytest

from growc.diagnostics import GrowcError
from tests.engine.models import built
from tests.families import SIZES

MINIMAX: dict[str, Any] = SIZES | {
    "model_type": "minimax", "intermediate_size": 16, "num_local_experts": 8, "num_experts_per_tok": 2,
    "layer_types": ["linear_attention", "full_attention"], "block_size": 16,
}  # fmt: skip
"""Its linear attention multiplies by decays that are fp32 whatever the weights are."""


def test_a_family_that_mixes_types_trains_in_fp32_alone(alone: None) -> None:
    built(MINIMAX)
    with pytest.raises(GrowcError, match=r"GROW638.*minimax.*bf16"):
        built(MINIMAX, precision="bf16")

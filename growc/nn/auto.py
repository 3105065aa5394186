"""Registration of grown models with transformers' Auto classes."""

from __future__ import annotations

from functools import cache


@cache
def register() -> None:
    """Let AutoConfig and AutoModelForCausalLM load `model_type: growc`. Called once transformers' Auto exists."""
    from transformers.models.auto.configuration_auto import AutoConfig

    from growc.nn.config import GrownConfig

    AutoConfig.register(GrownConfig.model_type, GrownConfig)

"""From a Hugging Face config mapping to a config object, and from that to a model on the meta device."""

from __future__ import annotations

import copy
import difflib
import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    AutoModelForCausalLM,
)

from growc.anatomy.grown_format import GROWN, fault_of, sections_of
from growc.diagnostics import fail
from growc.files.strict import decoded
from growc.model import attention, limits
from growc.nn.auto import register

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

NOT_CARRIED = frozenset({"auto_map", "quantization_config", "attn_implementation", "experts_implementation"})
"""Keys that name code to fetch or kernels to use: a config is data, and the engine chooses the kernels."""

BOOKKEEPING = frozenset({"transformers_version", "architectures", "dtype", "torch_dtype", "id2label", "label2id"})
"""Keys that say nothing about the model's structure."""

REFUSALS = (
    StrictDataclassError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    NameError,
)
"""What transformers and torch raise at a config that they cannot build."""


def load_config(values: Mapping[str, Any]) -> PreTrainedConfig:
    """The config object of a mapping with a `model_type`.

    Errors: GROW201 (type missing or unknown), GROW202 (transformers refuses the values), GROW203 (sizes).
    """
    model_type = values.get("model_type")
    if not isinstance(model_type, str):
        fail("GROW201", "the config has no model_type", help="add one, such as `model_type: qwen3_moe`")
    if fault := fault_of(values):
        fail("GROW202", fault, help="leave the section to growc: copy it from a config that growc wrote")
    register()
    # Without shared experts some families still build their matrices, of no rows: torch warns that it cannot draw them.
    warnings.filterwarnings("ignore", "Initializing zero-element tensors", UserWarning)
    if model_type not in CONFIG_MAPPING:
        _unknown(model_type)
    given = {k: decoded(v) for k, v in values.items() if k not in NOT_CARRIED and not k.startswith("_")}
    _refuse_contradictions(model_type, given)
    try:
        config: PreTrainedConfig = CONFIG_MAPPING[model_type].from_dict(copy.deepcopy(given))
    except REFUSALS as error:
        _refuse(model_type, error)
    language = text_part(config) or config
    if language is not config and isinstance(given.get("text_config"), dict):
        _refuse_contradictions(language.model_type, given["text_config"])
    if type(language) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        _unknown(model_type)
    limits.check(config)
    if absent := [layer for layer in sections_of(values) if layer >= config.num_hidden_layers]:
        fault = f"`{GROWN}` speaks of layer {absent[0]}, and num_hidden_layers is {config.num_hidden_layers}"
        fail("GROW202", fault, help="leave the section to growc: copy it from a config that growc wrote")
    return language


def _refuse_contradictions(model_type: str, given: Mapping[str, Any]) -> None:
    """Refuse two values for one field under two names, of which the order in the file would choose one."""
    stock = given[GROWN]["model_type"] if model_type == GROWN else model_type
    if stock not in CONFIG_MAPPING:
        _unknown(stock)
    for alias, name in CONFIG_MAPPING[stock].attribute_map.items():
        if alias in given and name in given and given[alias] != given[name]:
            fault = f"{name} is {given[name]!r}, and {alias}, another name of it, {given[alias]!r}"
            fail("GROW202", f"the {stock} config contradicts itself: {fault}", help="keep one of them")


def text_part(config: PreTrainedConfig) -> PreTrainedConfig | None:
    """The part of a config that is a causal language model's by itself, if it has one: towers lie around that."""
    text = getattr(config, "text_config", None) if "text_config" in cast(Any, type(config)).sub_configs else None
    return text if type(text) in MODEL_FOR_CAUSAL_LM_MAPPING else None


def canonical(config: PreTrainedConfig) -> dict[str, Any]:
    """The config as a mapping: every field explicit, aliases resolved, private keys left out."""
    fields = config.to_dict()
    return json.loads(json.dumps({k: v for k, v in fields.items() if k not in BOOKKEEPING and not k.startswith("_")}))


def build_meta(config: PreTrainedConfig, dtype: torch.dtype = torch.bfloat16) -> PreTrainedModel:
    """The causal language model of a config, for tracing: on the meta device, in evaluation mode.

    Attention is the opaque `growc::attention`. Experts run as batched products, whose FLOPs torch counts.
    Rotary frequencies that depend on the data (`dynamic`, `longrope`) give way to plain ones: same shapes.

    Errors: GROW202 (transformers or torch refuses the values).
    """
    attention.register()
    own = copy.deepcopy(config)
    if isinstance(rope := getattr(own, "rope_parameters", None), dict):
        own.rope_parameters = _plain(cast(dict[str, Any], rope))
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                own, attn_implementation=attention.NAME, experts_implementation="batched_mm", dtype=dtype
            )
    except REFUSALS as error:
        if isinstance(error, KeyError) and error.args == (attention.NAME,):
            own_attention(config.model_type)
        _refuse(config.model_type, error)
    return model.eval()


def own_attention(model_type: str) -> NoReturn:
    """Refuse a model whose attention (or recurrence) bypasses transformers' interface: its cost would be wrong."""
    fail(
        "GROW204",
        f"{model_type} mixes positions in code of its own, which growc cannot follow",
        help="only models that use transformers' attention interface can be traced",
    )


def _plain(rope: dict[str, Any]) -> dict[str, Any]:
    """Rotary parameters (or those of each kind of layer) with frequencies that do not depend on the data."""
    kinds = {k: _plain(cast(dict[str, Any], item)) if isinstance(item, dict) else item for k, item in rope.items()}
    return {**kinds, "rope_type": "default"} if rope.get("rope_type") in ("dynamic", "longrope") else kinds


def _unknown(model_type: str) -> NoReturn:
    near = difflib.get_close_matches(model_type, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, n=3)
    fail(
        "GROW201",
        f"transformers has no causal language model of type {model_type!r}",
        help=f"did you mean {' or '.join(near)}?" if near else "model_type is one of transformers' own names",
    )


def _refuse(model_type: str, error: BaseException) -> NoReturn:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, LookupError):  # its text is just the key
        reason = f"nothing is known under {reason}"
    fail(
        "GROW202",
        f"transformers cannot build this {model_type} config: {reason}",
        help="correct the value named",
    )

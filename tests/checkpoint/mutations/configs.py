"""Configs that say nothing, too much, or what the weights belie."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.checkpoint.mutations.scene import (
    Case,
    Mutation,
    Spoil,
    replace_by_folder,
    replace_by_link,
    replace_by_pipe,
)

CONFIG = "config.json"
DROP = object()
"""Instead of a value: the key is removed."""


def _text(change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(case: Case) -> str:
        path = case.source / CONFIG
        path.write_bytes(change(path.read_bytes()))
        return CONFIG

    return spoil


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


def with_values(values: dict[str, Any], *, says: tuple[str, ...] = ()) -> Spoil:
    """The config with these values; each diagnostic names one of the keys, or says what stands in `says`."""

    def spoil(case: Case) -> tuple[str, ...]:
        config = case.json(CONFIG) | values
        case.write_json(CONFIG, {key: value for key, value in config.items() if value is not DROP})
        return (*values, *says)

    return spoil


TEXTS: dict[str, Spoil] = {
    "empty": _text(lambda _text: b""),
    "not JSON": _text(lambda _text: b"model_type: qwen3_moe"),
    "half": _text(lambda text: text[: len(text) // 2]),
    "trailing comma": _text(lambda text: text.rstrip()[:-1] + b",}"),
    "trailing text": _text(lambda text: text + b"}"),
    "bad UTF-8": _text(lambda text: text.replace(b"silu", b"sil\xff")),
    "model_type twice": _text(lambda text: text.rstrip()[:-1] + b', "model_type": "mixtral"}'),
    "vocab_size twice": _text(lambda text: b'{"vocab_size": 255, ' + text[1:]),
    "a list": _text(lambda text: b"[" + text + b"]"),
    "null": _text(lambda _text: b"null"),
    "a text": _text(lambda _text: b'"qwen3_moe"'),
    "deep nesting": _text(lambda text: text.rstrip()[:-1] + b', "a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "nesting as deep as Python reads": _text(lambda text: json.dumps(json.loads(text) | {"a": nested(150)}).encode()),
    "a number without end": _text(lambda text: text.rstrip()[:-1] + b', "a": ' + b"9" * 5000 + b"}"),
    "a megabyte of spaces and no end": _text(lambda text: text.rstrip()[:-1] + b" " * 1_000_000),
    "gone": lambda case: (case.source / CONFIG).unlink() or CONFIG,
    "a folder": lambda case: replace_by_folder(case.source / CONFIG) or CONFIG,
    "a pipe": lambda case: replace_by_pipe(case.source / CONFIG) or CONFIG,
    "a dangling link": lambda case: replace_by_link(case.source / CONFIG, "nowhere") or CONFIG,
    "a link to itself": lambda case: replace_by_link(case.source / CONFIG, CONFIG) or CONFIG,
    "endless": lambda case: replace_by_link(case.source / CONFIG, "/dev/zero") or CONFIG,
}  # fmt: skip
"""Files that hold no config."""

SHAPES = ("shape", "tensor", "unplanned", "is missing", "has no ")
"""What is said where a config asks for other tensors than the folder has, or the stage grows."""

TYPES: dict[str, list[Any]] = {
    "model_type": [DROP, None, 1, "", "qwen9_moe", "Qwen3_moe", ["qwen3_moe"], "bert", "llama", "mixtral", "growc"],
    "hidden_size": [None, "32", 0, -32, 31, 33, 32.5, 2**40, 10**30, [32], True],
    "num_hidden_layers": [None, "2", 0, -1, 1, 3, 10**9, 2.5],
    "num_attention_heads": [None, "4", 0, -4, 3, 8, 10**9],
    "num_key_value_heads": [0, -2, "2", 3, 4],
    "head_dim": [0, -8, "8", 7, 16, 2**40],
    "vocab_size": [DROP, None, "256", 0, -1, 255, 257, 10**12],
    "num_experts_per_tok": [None, "2", 0, -2, 9, 2.5, 3],
    "tie_word_embeddings": [True, "yes", 2],
    "hidden_act": [None, "silo", 3, ["silu"]],
    "rms_norm_eps": [None, "tiny", [1e-6]],
    "attention_bias": [None, "no"],
    "dtype": ["banana", 17, "float31", ["float32"], "int8", "bool", "torch.qint8", "nn"],
    "rope_parameters": ["plain", [], 3, {"rope_type": "warp", "rope_theta": 1e4}],
    "quantization_config": [{"quant_method": "fp8"}, {"quant_method": "gptq", "bits": 4}, "fp8", [1]],
}  # fmt: skip
"""Values that no config of the three bases may have."""

OF_QWEN: dict[str, list[Any]] = {
    "num_local_experts": [DROP, None, "8", 0, -8, 7, 9, 16, 10**9],
    "moe_intermediate_size": [DROP, None, 0, -16, "16", 17, 10**12],
    "decoder_sparse_step": [0, 2, "1"],
    "mlp_only_layers": [[0], [1], "0", 1],
}
"""The same for the family of `single` and `sharded`."""

OF_GPT_OSS: dict[str, list[Any]] = {
    "num_local_experts": [DROP, 7, 16],
    "intermediate_size": [0, -16, 17, "16"],
    "layer_types": [["sliding_attention"], ["full"] * 2, "full_attention", [1, 2]],
    "swiglu_limit": ["seven"],
}
"""The same for that of `fused`."""

CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "two numbers of experts": {"num_experts": 16},
    "a smaller number of experts": {"num_experts": 4},
    "two dtypes": {"torch_dtype": "bfloat16"},
    "a growc section without its type": {"growc": {"model_type": "qwen3_moe", "layers": {}}},
    "a growc section that is a list": {"model_type": "growc", "growc": []},
    "a growc section without layers": {"model_type": "growc", "growc": {"model_type": "qwen3_moe"}},
    "a growc section of growc": {"model_type": "growc", "growc": {"model_type": "growc", "layers": {}}},
    "a growc section of nonsense": {"model_type": "growc", "growc": {"model_type": "nonsense", "layers": {}}},
    "a growc layer that does not exist": {
        "model_type": "growc",
        "growc": {"model_type": "qwen3_moe", "layers": {"7": {"num_local_experts": 8}}},
    },
    "a growc layer called one half": {
        "model_type": "growc",
        "growc": {"model_type": "qwen3_moe", "layers": {"½": {"num_local_experts": 8}}},
    },
    "a growc layer called superscript two": {
        "model_type": "growc",
        "growc": {"model_type": "qwen3_moe", "layers": {"²": {"num_local_experts": 8}}},
    },
    "a growc layer with a text for a size": {
        "model_type": "growc",
        "growc": {"model_type": "qwen3_moe", "layers": {"0": {"num_local_experts": "8"}}},
    },
    "a growc layer with siblings that do not add up": {
        "model_type": "growc",
        "growc": {
            "model_type": "qwen3_moe",
            "layers": {"0": {"num_local_experts": 8, "router": "model.layers.0.mlp.gate", "replicas": [2, 2]}},
        },
    },
    "a growc layer with siblings at no router": {
        "model_type": "growc",
        "growc": {
            "model_type": "qwen3_moe",
            "layers": {"0": {"num_local_experts": 8, "router": "model.nowhere", "replicas": [2, 2, 2, 2]}},
        },
    },
}
"""Several keys that cannot all be true."""


def _label(value: Any) -> str:
    return "dropped" if value is DROP else "".join(c for c in json.dumps(value) if c.isalnum() or c in ".-_")[:40]


def _typed(table: dict[str, list[Any]]) -> dict[str, Spoil]:
    return {
        f"{key} {_label(value)}": with_values(
            {key: value}, says=(CONFIG, "/source ", key.removeprefix("num_"), *SHAPES)
        )
        for key, values in table.items()
        for value in values
    }


def mutations() -> list[Mutation]:
    """The files' texts, and values for each family."""
    contradictions = {
        w: with_values(v, says=("num_local_experts", CONFIG, "growc", "dtype")) for w, v in CONTRADICTIONS.items()
    }
    spoils: list[tuple[str, dict[str, Spoil]]] = [
        ("single", TEXTS | _typed(TYPES | OF_QWEN) | contradictions),
        ("sharded", dict([*TEXTS.items()][::4])),
        ("fused", dict([*TEXTS.items()][1::4]) | _typed(OF_GPT_OSS)),
    ]
    return [Mutation("config", what, base, spoil) for base, some in spoils for what, spoil in some.items()]

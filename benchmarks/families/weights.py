"""Random checkpoints in which every tensor matters, and what models compute of random tokens."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

SEQUENCES, LENGTH = 2, 24
"""Tokens that models are compared on: more than every window, which is 16."""

FIRST_TOKEN = 16
"""Ids below name special tokens."""

GAIN = 0.3
"""The standard deviation around what norms, biases and gains start as."""

EAGER: dict[str, Any] = {"attn_implementation": "eager", "experts_implementation": "eager"}
"""What computes models: nothing fused."""

FIXED = re.compile(r"inv_freq|rotary|position_ids|masked_bias|running_|num_batches|(^|\.)(sin|cos)")
"""Buffers that follow from the config."""


def drawn(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """A model with matrices of N(0, 1 / inputs), tables of N(0, 1), and all else around what it starts as.

    What starts as the same with every seed is a norm, a bias or a gain: it gets `GAIN` N(0, 1) on top.
    """
    models = [_initial(config, seed), _initial(config, seed + 1)]
    tables = {id(m.weight) for m in models[0].modules() if isinstance(m, nn.Embedding)}
    other = models[1].state_dict(keep_vars=True)
    done: set[int] = set()
    with torch.no_grad():
        for name, tensor in models[0].state_dict(keep_vars=True).items():
            if id(tensor) in done or not tensor.is_floating_point() or FIXED.search(name) or not tensor.numel():
                continue
            done.add(id(tensor))
            noise = torch.randn(tensor.shape, generator=generator(seed, name))
            if id(tensor) in tables:
                tensor.copy_(noise)
            elif tensor.dim() < 2 or torch.equal(tensor, other[name]):
                tensor.copy_(tensor.nan_to_num(0.0, 0.0, 0.0) + GAIN * noise)
            else:
                tensor.copy_(noise / _inputs(tensor) ** 0.5)
    return models[0]


def load(folder: Path, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    """The model in a folder, with nothing fused.

    Raises:
        ValueError: the folder does not hold just the tensors of its config.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        output_loading_info=True,
        **EAGER,
    )
    model, told = loaded
    faults = {kind: sorted(map(str, names))[:3] for kind, names in told.items() if names and kind != "error_msgs"}
    if faults:
        raise ValueError(f"loading tells of {faults}")
    return model.eval()


def of_language(name: str) -> str:
    """The name of a tensor in the language model alone: the grown one of a model that has other parts may be that."""
    return name.replace("language_model.", "")


def tokens(vocabulary: int, seed: int) -> Tensor:
    """Random ids of shape (SEQUENCES, LENGTH), none of a special token."""
    return torch.randint(FIRST_TOKEN, vocabulary, (SEQUENCES, LENGTH), generator=generator(seed, "tokens"))


def logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """The model's logits in float64, of shape (SEQUENCES, LENGTH, vocabulary).

    Raises:
        ValueError: they are not finite, or all the same.
    """
    with torch.no_grad():
        result: Any = model(input_ids=ids, use_cache=False)
    scores = result.logits.double()
    if not torch.isfinite(scores).all() or scores.std() < 1e-6:
        raise ValueError("logits are not finite, or all the same")
    return scores


def generator(seed: int, name: str) -> torch.Generator:
    """Draws that depend on the seed and the name alone."""
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:7]))


def _initial(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **EAGER)
    return model.eval()


def _inputs(tensor: Tensor) -> int:
    """How many numbers a matrix adds up: those of one row, of one expert's row, or of one kernel."""
    shape = tensor.shape
    return max(1, shape[-1] if len(shape) == 2 else max(shape[-1], shape[1]))

"""Small models in float64 with drawn weights, on which growth and classes are compared: nothing in them is idle.

Biases, gains and tables are as large as what they meet, so that a wrong one shows. Two calls give the same model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from growc.model.build import load_config
from growc.model.float64_mode import Double
from growc.programs import of_parent

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from growc.anatomy.model_graph import ModelGraph

SPREAD = 0.5
"""How far gains and biases are drawn from where the family starts them. A bias that is larger than what differs between
tokens would send them all to the same few experts.
"""

OF_EXPERTS, AHEAD = 0.2, 1.5
"""The same of what has one number for each expert, and how far one of them is ahead: a selection bias that decides for
one expert, and leaves the others to the scores. A sibling that lost would be chosen for it.
"""


def build(config: Mapping[str, Any]) -> PreTrainedModel:
    """A model of a config in float64 on the CPU, in evaluation mode, with nothing fused."""
    with torch.random.fork_rng(devices=[]), _nothing_uninitialised():
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            load_config(config),
            attn_implementation="eager",
            experts_implementation="eager",
            dtype=torch.float64,
        )
    return model.double().eval()  # some modules are built in float32, whatever is asked for


@contextmanager
def _nothing_uninitialised() -> Generator[None]:
    """Within: `torch.empty` gives NaN, so that what a family never initialises is the same in every process."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def draw(config: Mapping[str, Any], seed: int, parent: int = 0, of_experts: Collection[str] = ()) -> PreTrainedModel:
    """A model of a config with weights drawn from `seed`: nothing constant, no two experts alike.

    Those of several parents differ from each other. `of_experts` are vectors with one number for each expert.
    """
    model = build(config)
    names = {id(tensor): name for name, tensor in reversed(model.state_dict(keep_vars=True).items())}  # tied ones once
    first = set(names.values())
    tables = {names[id(m.weight)] for m in model.modules() if isinstance(m, nn.Embedding) and id(m.weight) in names}
    state = {
        name: _drawn(of_parent(parent, name), initial, seed, table=name in tables, of_experts=name in of_experts)
        for name, initial in model.state_dict().items()
        if name in first
    }
    model.load_state_dict(state, strict=False)
    return model


def _drawn(name: str, initial: Tensor, seed: int, *, table: bool, of_experts: bool) -> Tensor:
    if not initial.is_floating_point():  # tables of indices are structure
        return initial
    source = generator(seed, name)
    values = torch.randn(initial.shape, generator=source, dtype=torch.float64)
    if of_experts:
        values *= OF_EXPERTS
        values.view(-1)[torch.randint(values.numel(), (1,), generator=source)] += AHEAD
        return initial.nan_to_num(0.0) + values
    if initial.dim() > 1:  # matrices keep the size of what passes through; words and positions are as large as biases
        return values if table else values / initial.shape[-1] ** 0.5
    return initial.nan_to_num(0.0) + SPREAD * values


def generator(seed: int, name: str) -> torch.Generator:
    """Random numbers that belong to one name."""
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:7]))


def load(model: PreTrainedModel, graph: ModelGraph, tensors: Mapping[str, Tensor]) -> None:
    """Put `tensors`, one for each of `graph.tensors`, into a model of that graph."""
    left = model.load_state_dict(dict(tensors), strict=False)
    assert not left.unexpected_keys, left.unexpected_keys
    assert set(left.missing_keys) <= graph.tied.keys(), left.missing_keys


def tokens(vocabulary: int, sequences: int, length: int, seed: int = 0) -> Tensor:
    """Random token ids of shape (sequences, length)."""
    return torch.randint(vocabulary, (sequences, length), generator=generator(seed, "tokens"))


def logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """The model's logits of shape (sequences, length, vocabulary); a float64 model's in float64 all through."""
    with Double():
        result: Any = model(input_ids=ids, use_cache=False)
    return result.logits

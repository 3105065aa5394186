"""The float64 twin: a growth carried out for real on a small model that routes as the large one does.

No weights of the user's are needed: the twin's are drawn from a seed, router rows and selection bias
included. Whatever an operator promises of the model's function must hold here, up to rounding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.checks.shrink import restricted, shrink, stand_ins
from growc.growth.evaluate import InMemory, evaluate
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import ModelGraph, inspect
from growc.model.build import load_config
from growc.operators import Operator
from growc.operators.operator import Replicas
from growc.programs import Expr, shape

SEQUENCES, LENGTH = 4, 16
"""Size of the batch on which twins are compared."""


@dataclass(frozen=True)
class Step:
    """One operator on the twin: the bound rewrite, and the replicas of every layer that it grew."""

    rewrite: Rewrite
    replicas: Mapping[int, Replicas]


@dataclass(frozen=True)
class Twin:
    """Two small float64 models, before and after growth, and how one came from the other."""

    source: PreTrainedModel
    grown: PreTrainedModel
    steps: tuple[Step, ...]


def twin_of(rewrites: Sequence[Rewrite], seed: int) -> Twin:
    """The twin of operators applied one after another, in small.

    Raises:
        GrowcError: the model's family has no small version with these widths.
    """
    stands_for = stand_ins(rewrites)
    grown = {stands_for[site.layer] for step in rewrites for site in step.sites}
    config = shrink(rewrites[0].source, max(grown) + 1)
    operators = [restricted(step.operator, stands_for) for step in rewrites]
    return grow_twin(inspect(config, LENGTH), operators, seed)


def grow_twin(source: ModelGraph, operators: Sequence[Operator], seed: int) -> Twin:
    """Draw weights for `source` as it is and grow it by `operators`; measured utilities are drawn too."""
    before = draw(source, seed)
    tensors = {name: tensor.detach() for name, tensor in before.state_dict().items()}
    graph, steps = source, list[Step]()
    for index, operator in enumerate(operators):
        planned = rewrite(operator, graph, seed=f"{seed}/{index}", sequence_length=LENGTH)
        step = _settled(planned, seed + index)
        tensors = apply(step.rewrite.programs, tensors)
        graph = step.rewrite.grown
        steps.append(step)
    after = build(graph)
    load(after, graph, tensors)
    return Twin(before, after, tuple(steps))


def _settled(step: Rewrite, seed: int) -> Step:
    """`step` with measured allocations decided by random utilities."""
    replicas: dict[int, Replicas] = {}
    for site in step.sites:
        drawn = torch.rand(site.num_experts, generator=_generator(seed, site.name), dtype=torch.float64)
        replicas[site.layer] = step.operator.allocate(site, tuple(drawn.tolist()) if step.operator.measured else None)
    return Step(step.bound(replicas) if step.operator.measured else step, replicas)


def build(graph: ModelGraph) -> PreTrainedModel:
    """A model of `graph`'s config in float64 on the CPU, in evaluation mode, with nothing fused."""
    with torch.random.fork_rng(devices=[]):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            load_config(graph.config),
            attn_implementation="eager",
            experts_implementation="eager",
            dtype=torch.float64,
        )
    return model.eval()


def draw(graph: ModelGraph, seed: int) -> PreTrainedModel:
    """A model of `graph`'s config with weights drawn from `seed`: nothing constant, no two experts alike."""
    model = build(graph)
    initial = model.state_dict()
    load(model, graph, {name: _drawn(name, initial[name], seed) for name in graph.tensors})
    return model


def _drawn(name: str, initial: Tensor, seed: int) -> Tensor:
    values = torch.randn(initial.shape, generator=_generator(seed, name), dtype=torch.float64)
    # Matrices keep the size of what passes through; norms and biases stay near where the family starts them.
    return values / initial.shape[-1] ** 0.5 if initial.dim() > 1 else initial + 0.1 * values


def _generator(seed: int, name: str) -> torch.Generator:
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:7]))


def apply(programs: Mapping[str, Expr], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `programs`, with nothing late in them, make of `tensors`, in float64."""
    fetch = InMemory(dict(tensors))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    rows = {name: torch.arange((*shape(program, shapes), 1)[0]) for name, program in programs.items()}
    return {name: evaluate(program, rows[name], fetch, torch.float64) for name, program in programs.items()}


def load(model: PreTrainedModel, graph: ModelGraph, tensors: Mapping[str, Tensor]) -> None:
    """Put `tensors`, one for each of `graph.tensors`, into a model of that graph."""
    left = model.load_state_dict(dict(tensors), strict=False)
    assert not left.unexpected_keys, left.unexpected_keys
    assert set(left.missing_keys) <= graph.tied.keys(), left.missing_keys


def tokens(model: PreTrainedModel, seed: int, sequences: int = SEQUENCES, length: int = LENGTH) -> Tensor:
    """Random token ids of shape (sequences, length)."""
    vocabulary: int = model.config.vocab_size
    return torch.randint(vocabulary, (sequences, length), generator=_generator(seed, "tokens"))


def logits(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """The model's logits of shape (sequences, length, vocabulary)."""
    result: Any = model(input_ids=ids, use_cache=False)
    return result.logits


def loss(scores: Tensor, ids: Tensor) -> Tensor:
    """Mean next-token cross-entropy in nats."""
    return F.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

"""The float64 twin: a growth carried out for real on a small model that routes as the large one does.

No weights of the user's are needed: the twin's are drawn from a seed, router rows and selection bias
included. Whatever an operator promises of the model's function must hold here, up to rounding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.checks.double import Double
from growc.checks.stand_ins import restricted, stand_ins
from growc.growth.decision import by_scores, scored
from growc.growth.evaluate import InMemory, evaluate
from growc.growth.rewrite import Rewrite, other_of, rewrite
from growc.model import ModelGraph, inspect
from growc.model.build import load_config
from growc.model.small import shrink
from growc.operators import Operator
from growc.operators.matching import ByActivations
from growc.operators.means import Means
from growc.operators.operator import KeptUnits, Replicas
from growc.operators.sites import FfnSite
from growc.programs import Expr, Late, of_parent, shape

SEQUENCES, LENGTH = 4, 16
"""Size of the batch on which twins are compared."""


@dataclass(frozen=True)
class Step:
    """One operator on the twin: the bound rewrite, and the replicas of every layer that it grew."""

    rewrite: Rewrite
    replicas: Mapping[int, Replicas]


@dataclass(frozen=True)
class Twin:
    """Two small float64 models, before and after growth, and how one came from the other.

    `others` are the further models that the first operator mixed with the source.
    """

    source: PreTrainedModel
    grown: PreTrainedModel
    steps: tuple[Step, ...]
    others: tuple[PreTrainedModel, ...] = ()

    def tensors(self) -> dict[str, Tensor]:
        """All that the first operator read, by the names in its programs."""
        return _tensors((self.source, *self.others))


def twin_of(rewrites: Sequence[Rewrite], seed: int) -> Twin:
    """The twin of operators applied one after another, in small.

    Raises:
        GrowcError: the model's family has no small version with these widths.
    """
    stands_for = stand_ins(rewrites)
    grown = {stands_for[site.layer] for step in rewrites for site in step.sites}
    config = shrink(rewrites[0].source, max(grown or stands_for.values()) + 1)
    operators = [restricted(step, stands_for) for step in rewrites]
    return grow_twin(inspect(config, LENGTH), operators, seed, rewrites[0].parents)


def grow_twin(source: ModelGraph, operators: Sequence[Operator], seed: int, parents: int = 1) -> Twin:
    """Draw weights for `source` as it is and grow it by `operators`; measured utilities are drawn too.

    An operator that mixes gets `parents` models, whose weights are drawn each for itself.
    """
    others = (draw(other_of(operators[0], source), seed, parent) for parent in range(1, parents))
    before = (draw(source, seed), *others)
    return grow_drawn(before, source, operators, seed)


def grow_drawn(
    before: tuple[PreTrainedModel, ...], source: ModelGraph, operators: Sequence[Operator], seed: int
) -> Twin:
    """Grow models of `source` that are there already."""
    tensors, graph, steps = _tensors(before), source, list[Step]()
    for index, operator in enumerate(operators):
        planned = rewrite(
            operator, graph, seed=f"{seed}/{index}", sequence_length=LENGTH, parents=1 if index else len(before)
        )
        step = _settled(planned, seed + index)
        tensors = apply(step.rewrite.programs, tensors)
        graph = step.rewrite.grown
        steps.append(step)
    after = build(graph)
    load(after, graph, tensors)
    return Twin(before[0], after, tuple(steps), before[1:])


def _tensors(models: Sequence[PreTrainedModel]) -> dict[str, Tensor]:
    return {
        of_parent(parent, name): tensor.detach()
        for parent, model in enumerate(models)
        for name, tensor in model.state_dict().items()
    }


def _settled(step: Rewrite, seed: int) -> Step:
    """`step` with what is measured decided at random."""
    scores: dict[int, tuple[float, ...]] = {}
    if step.operator.measured:
        for site in step.mixtures:
            drawn = torch.rand(scored(step, site), generator=_generator(seed, site.name), dtype=torch.float64)
            scores[site.layer] = tuple(drawn.tolist())
    decision = by_scores(step, scores)
    if isinstance(step.operator.measure, ByActivations):
        decision = replace(decision, units={site.layer: _orders(step, site, seed) for site in step.networks})
    if isinstance(step.operator.measure, Means):
        decision = replace(decision, means={late.key: _mean(late, seed) for late in step.lates})
    return Step(decision.bound(step) if step.operator.measured else step, decision.replicas)


def _orders(step: Rewrite, site: FfnSite, seed: int) -> KeptUnits:
    """For every parent but the first, the units of one network in random order."""
    made = _generator(seed, site.name)
    return tuple(tuple(torch.randperm(site.width, generator=made).tolist()) for _ in range(1, step.parents))


def _mean(late: Late, seed: int) -> tuple[float, ...]:
    return tuple(torch.randn(late.length, generator=_generator(seed, late.key), dtype=torch.float64).tolist())


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


def draw(graph: ModelGraph, seed: int, parent: int = 0) -> PreTrainedModel:
    """A model of `graph`'s config with weights drawn from `seed`: nothing constant, no two experts alike.

    Those of several parents differ from each other.
    """
    model = build(graph)
    initial = model.state_dict()
    load(model, graph, {name: _drawn(of_parent(parent, name), initial[name], seed) for name in graph.tensors})
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
    """The model's logits of shape (sequences, length, vocabulary); a float64 model's in float64 all through."""
    with Double():
        result: Any = model(input_ids=ids, use_cache=False)
    return result.logits


def loss(scores: Tensor, ids: Tensor) -> Tensor:
    """Mean next-token cross-entropy in nats."""
    return F.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

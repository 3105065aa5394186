"""The float64 twin: a growth carried out for real on a small model that routes as the large one does.

No weights of the user's are needed: the twin's are drawn from a seed, router rows and selection bias
included. Whatever an operator promises of the model's function must hold here, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import KeptUnits, Replicas
from growc.anatomy.sites import FfnSite
from growc.checks.representative_layers import check_kinds, depth, representative_layers, restricted
from growc.growth.decision import by_scores, scored
from growc.growth.rewrite import Rewrite, other_of, rewrite
from growc.model import inspect
from growc.model.drawn import build, draw, generator, load
from growc.model.drawn import tokens as drawn_tokens
from growc.model.reach import LENGTH, within_reach
from growc.model.shrink import shrink
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators import Operator
from growc.operators.facets import measure_of
from growc.operators.matching import ByActivations
from growc.operators.means import Means
from growc.programs import Deferred, Expr, of_parent, shape

SEQUENCES = 4
"""How many sequences of `LENGTH` tokens twins are compared on."""


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
    """The twin of operators applied one after another, in small, with layers of every kind that the model has.

    Raises:
        GrowcError: the model's family has no small version with these widths, or none that shows every kind of layer.
    """
    stands_for = representative_layers(rewrites)
    source = rewrites[0].source
    small = inspect(shrink(source, depth(rewrites)), LENGTH)
    small = inspect(within_reach(small), LENGTH)
    check_kinds(source, small)
    operators = [restricted(step, stands_for, source, small) for step in rewrites]
    return grow_twin(small, operators, seed, rewrites[0].parents)


def grow_twin(source: ModelGraph, operators: Sequence[Operator], seed: int, parents: int = 1) -> Twin:
    """Draw weights for `source` as it is and grow it by `operators`; measured utilities are drawn too.

    An operator that mixes gets `parents` models, whose weights are drawn each for itself.
    """
    models = (source, *(other_of(operators[0], source) for _ in range(1, parents)))
    before = tuple(draw(model.config, seed, parent, model.expert_vectors) for parent, model in enumerate(models))
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
        step = bind_at_random(planned, seed + index)
        tensors = apply(step.rewrite.programs, tensors)
        graph = step.rewrite.grown
        steps.append(step)
    after = build(graph.config)
    load(after, graph, tensors)
    return Twin(before[0], after, tuple(steps), before[1:])


def _tensors(models: Sequence[PreTrainedModel]) -> dict[str, Tensor]:
    return {
        of_parent(parent, name): tensor.detach()
        for parent, model in enumerate(models)
        for name, tensor in model.state_dict().items()
    }


def bind_at_random(step: Rewrite, seed: int) -> Step:
    """`step` with what is measured decided at random."""
    scores: dict[int, tuple[float, ...]] = {}
    measure = measure_of(step.operator)
    if measure is not None:
        for site in step.mixtures:
            drawn = torch.rand(scored(step, site), generator=generator(seed, site.name), dtype=torch.float64)
            scores[site.layer] = tuple(drawn.tolist())
    decision = by_scores(step, scores)
    if isinstance(measure, ByActivations):
        decision = replace(decision, units={site.layer: _orders(step, site, seed) for site in step.networks})
    if isinstance(measure, Means):
        decision = replace(decision, means={late.key: _mean(late, seed) for late in step.deferred_vectors})
    return Step(decision.bound(step) if measure is not None else step, decision.replicas)


def _orders(step: Rewrite, site: FfnSite, seed: int) -> KeptUnits:
    """For every parent but the first, the units of one network in random order."""
    made = generator(seed, site.name)
    return tuple(tuple(torch.randperm(site.width, generator=made).tolist()) for _ in range(1, step.parents))


def _mean(late: Deferred, seed: int) -> tuple[float, ...]:
    return tuple(torch.randn(late.length, generator=generator(seed, late.key), dtype=torch.float64).tolist())


def apply(programs: Mapping[str, Expr], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `programs`, with nothing deferred in them, make of `tensors`, in float64."""
    fetch = InMemory(dict(tensors))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    rows = {name: torch.arange((*shape(program, shapes), 1)[0]) for name, program in programs.items()}
    return {name: evaluate(program, rows[name], fetch, torch.float64) for name, program in programs.items()}


def tokens(model: PreTrainedModel, seed: int, sequences: int = SEQUENCES, length: int = LENGTH) -> Tensor:
    """Random token ids of shape (sequences, length)."""
    return drawn_tokens(model.config.vocab_size, sequences, length, seed)


def loss(scores: Tensor, ids: Tensor) -> Tensor:
    """Mean next-token cross-entropy in nats."""
    return F.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

"""A grown training state held against the readings: weights in fp32, moments, and steps of every tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.audit.compare import differences
from growc.audit.fault import fault
from growc.audit.moments import Moments, moments
from growc.audit.readings import reading
from growc.audit.rows import AsTold, Rows, Told, shape_in
from growc.audit.step import Step
from growc.audit.value import Value
from growc.checkpoint.shards import ShardsReader
from growc.checkpoint.training import SHARDS, Meta, read_meta, read_tensor, types_of
from growc.checkpoint.validate_training_state import STEP
from growc.diagnostics import Diagnostic
from growc.files.beside import TRAINING

SECOND = "exp_avg_sq"
"""Adam's second moment, the mean of squares; all others are means of gradients."""


@dataclass(frozen=True)
class State:
    """A training state on disk; the index of its shards is read once."""

    path: Path

    @cached_property
    def meta(self) -> Meta:
        """What it is."""
        return read_meta(self.path)

    @cached_property
    def _reader(self) -> ShardsReader:
        return ShardsReader(self.path / SHARDS)

    @cached_property
    def types(self) -> Mapping[str, torch.dtype]:
        """Of its tensors, by their names there."""
        return types_of(self.path)

    def tensor(self, key: str) -> Tensor:
        """A tensor by its name there."""
        return read_tensor(self.path, key, self._reader)


@dataclass(frozen=True)
class InState:
    """One kind of tensors of a training state, of which the last one read is kept.

    `key` says what the one of a tensor is called.
    """

    state: State
    key: Callable[[str], str]
    graph: ModelGraph
    _kept: dict[str, Tensor] = field(default_factory=dict[str, Tensor], init=False)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See `Rows.shape`."""
        return shape_in(self.graph, name)

    def dtype(self, name: str) -> torch.dtype:
        """See `Rows.dtype`: moments may be bf16, and all else is fp32, whole numbers too."""
        return torch.bfloat16 if self.state.types.get(self.key(name)) == torch.bfloat16 else torch.float32

    def rows(self, name: str, index: Sequence[int]) -> Value:
        """See `Rows.rows`."""
        if name not in self._kept:
            self._kept.clear()  # frees the tensor before the next is read
            self._kept[name] = self.state.tensor(self.key(name))
        found = self._kept[name]
        says = f"row {index[0]} of {self.key(name)} in the source" if len(index) == 1 else f"{self.key(name)} there"
        return Value(found[torch.tensor(index)] if found.dim() else found.view(1), says)


def training_differences(source: Path, grown: Path, steps: Sequence[Step[Any]]) -> Iterator[Diagnostic]:
    """What of the training state of a grown folder is not what the growths make of the source's, if it has one.

    Args:
        source: the folder that grew.
        grown: the one that it grew into.
        steps: the growths, the first one first.
    """
    there = [os.path.lexists(folder / TRAINING) for folder in (source, grown)]
    if there[0] != there[1]:
        yield fault(f"the training state is {'missing' if there[0] else 'there, and the source has none'}")
    if not all(there):
        return
    old, new = State(source / TRAINING), State(grown / TRAINING)
    for what in ("key", "node", "step", "tokens"):
        before, after = (getattr(state.meta, what) for state in (old, new))
        if before != after:
            yield fault(f"the {what} of the training state is {after}, and not {before}")
    yield from _of_tensors("model.{}", old, new, steps, lambda step: _in_state(reading(step.operator.op)(step)))
    kept = _kept(steps, old)
    yield from _of_steps(old, new, steps[-1].after, kept)
    for kind in sorted({kind for held in old.meta.moments.values() for kind in held} - {STEP}):
        names = [name for name in kept if kind in new.meta.moments.get(name, [])]
        declared = partial(_declared, second=kind == SECOND)
        yield from _of_tensors(f"optimizer.{{}}.{kind}", old, new, steps, declared, names)


def _of_tensors(
    key: str,
    old: State,
    new: State,
    steps: Sequence[Step[Any]],
    read: Callable[[Step[Any]], Mapping[str, Told]],
    names: Sequence[str] | None = None,
) -> Iterator[Diagnostic]:
    """The differences of one kind of tensors: of all of them, or of those of some names."""
    after, source = steps[-1].after, InState(old, key.format, steps[0].before)
    found, wanted = InState(new, key.format, after), _chained(steps, source, read)
    yield from differences(found, wanted, after.tensors if names is None else names, f"{key} in the training state")


def _of_steps(old: State, new: State, graph: ModelGraph, kept: Mapping[str, str]) -> Iterator[Diagnostic]:
    """Which tensors have state, and how many steps they count: as many as what they were made of."""
    before, after = old.meta.moments, new.meta.moments
    for name in [*graph.tensors, *sorted(after.keys() - graph.tensors.keys())]:
        wanted, held = sorted(before.get(kept.get(name, ""), [])), sorted(after.get(name, []))
        if wanted != held:
            yield fault(f"{name} has the optimizer state {held}, and should have {wanted}")
        elif STEP in held:
            steps = [state.tensor(f"optimizer.{of}.{STEP}") for state, of in ((old, kept[name]), (new, name))]
            if not torch.equal(*steps):
                yield fault(f"{name} counts {steps[1].item():g} steps, and not the {steps[0].item():g} of {kept[name]}")


def _kept(steps: Sequence[Step[Any]], source: State) -> dict[str, str]:
    """For every tensor that keeps state through all growths, the one of the source whose steps it counts."""
    told: list[Moments] = []

    def declared(step: Step[Any]) -> Mapping[str, Told]:
        told.append(moments(step, second=False))
        return {}

    _chained(steps, InState(source, "optimizer.{}".format, steps[0].before), declared)
    found = ((name, _origin(name, told)) for name in steps[-1].after.tensors)
    return {name: origin for name, origin in found if origin is not None}


def _declared(step: Step[Any], *, second: bool) -> Mapping[str, Told]:
    """Moments keep the type of the ones that they are made of."""
    found = moments(step, second=second)
    return {n: replace(k.told, dtype=step.source.dtype(k.origin)) for n, k in found.items() if k is not None}


def _chained(steps: Sequence[Step[Any]], source: Rows, read: Callable[[Step[Any]], Mapping[str, Told]]) -> Rows:
    """What all growths make of one kind of tensors; what they decided is settled, by the weights in the folder."""
    for step in steps:
        here = replace(step, source=source, settled=True)
        source = AsTold(read(here), source, step.after)
    return source


def _in_state(told: Mapping[str, Told]) -> dict[str, Told]:
    """What a state has of weights: all of them in fp32, whole numbers too."""
    return {name: _wide(each) if each.dtype != torch.float32 else each for name, each in told.items()}


def _wide(told: Told) -> Told:
    def row(number: int) -> Value:
        value = told.row(number)
        return replace(value, tensor=value.tensor.float()) if value.slack is None else value

    return Told(torch.float32, row)


def _origin(name: str, told: Sequence[Moments]) -> str | None:
    """The tensor of the source whose state a grown tensor keeps, through all growths; None if it keeps none."""
    for each in reversed(told):
        if name in each:
            kept = each[name]
            if kept is None:
                return None
            name = kept.origin
    return name

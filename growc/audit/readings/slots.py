"""The slots of a layer whose experts were copied: the copies of an expert follow it, in its source's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from growc.anatomy.sites import MoeSite, Units
from growc.audit.rows import row, std, whole
from growc.audit.step import Step
from growc.audit.value import Value, computed
from growc.operators.expert_upcycling import ExpertUpcycling


@dataclass(frozen=True)
class Slot:
    """Slot `number` holds `turn` of the `siblings` that come from `expert`: 0 is the original, 1 its first copy.

    `first` is the number of the original, and `neighbour` the expert that a copy is mixed with: as many further on in
    the circle of the others as it is copies away.
    """

    number: int
    expert: int
    turn: int
    siblings: int
    first: int
    neighbour: int


def slots(replicas: Sequence[int]) -> list[Slot]:
    """The slots of a layer whose experts have these replicas."""
    made: list[Slot] = []
    for expert, siblings in enumerate(replicas):
        others = [(expert + 1 + k) % len(replicas) for k in range(len(replicas) - 1)] or [expert]
        first = len(made)
        for turn in range(siblings):
            neighbour = others[(turn - 1) % len(others)] if turn else expert
            made.append(Slot(first + turn, expert, turn, siblings, first, neighbour))
    return made


@dataclass(frozen=True)
class Copied:
    """One tensor with a row for each slot, in a step that copies experts."""

    step: Step[ExpertUpcycling]
    site: MoeSite
    slots: Sequence[Slot]
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row."""
        return self.step.before.tensors[self.name].shape[1:]

    @property
    def units(self) -> Units | None:
        """Where its intermediate units lie, if it has any."""
        return next((unit for unit in self.site.units if unit.tensor == self.name), None)

    @cached_property
    def std(self) -> float:
        """The standard deviation of the source's tensor."""
        return std(self.step.source, self.name)

    @cached_property
    def all(self) -> Value:
        """The source's tensor whole: for routers."""
        return whole(self.step.source, self.name)

    def own(self, slot: Slot) -> Value:
        """The row of the slot's expert."""
        return row(self.step.source, self.name, slot.expert)

    def other(self, slot: Slot) -> Value:
        """The row of the expert that the slot is mixed with."""
        return row(self.step.source, self.name, slot.neighbour)

    def normal(self, slot: int) -> Tensor:
        """The standard normal values of a slot."""
        return self.step.normal(self.name, slot, self.shape)

    def between(self, slot: Slot, other: float) -> Value:
        """On the way to the neighbour: `other` is its share."""
        mine, theirs = self.own(slot), self.other(slot)
        says = f"{1 - other:g} times {mine.says} and {other:g} times that of {slot.neighbour}"
        return computed((1 - other) * mine.wide + other * theirs.wide, says, mine, theirs)

"""What a check sees and what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

from growc.diagnostics import Diagnostic
from growc.growth.graph import GrowthGraph, Node
from growc.spec import LoadedSpec
from growc.spec.schema import Invariants

if TYPE_CHECKING:
    from growc.model.source import ModelSource

Status = Literal["held", "broken", "to_measure"]

ROUNDING: Mapping[str, tuple[float, ...]] = {"preservation": (1e-12, 1e-9), "loss": (1e-6,)}
"""What is told, by the name of an invariant, in place of lower values: they are rounding, in float64 of a twin and in
float32 of a run, and each processor and each number of threads rounds in its own way."""


@dataclass(frozen=True)
class Context:
    """A loaded spec, the model it starts from, and what it does to that model."""

    loaded: LoadedSpec
    source: ModelSource
    graph: GrowthGraph


@dataclass(frozen=True)
class Invariant:
    """One invariant at one stage.

    `value` and `limit` are in the invariant's own unit; `detail` is a line of text. `to_measure` is settled
    with weights: by `growc check --measure`, or by the run. A value among `ROUNDING` of its name is a bound that the
    value found keeps within.
    """

    name: str
    stage: str
    status: Status
    value: float | None
    limit: float | None
    detail: str = ""


@dataclass(frozen=True)
class Findings:
    """What one or several checks found."""

    diagnostics: tuple[Diagnostic, ...] = ()
    invariants: tuple[Invariant, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.diagnostics + other.diagnostics, self.invariants + other.invariants)

    def settled_by(self, measured: Findings) -> Findings:
        """These findings, with what `measured` settles in the place of what was to be measured."""
        settled = {(i.name, i.stage): i for i in measured.invariants}
        invariants = tuple(settled.get((i.name, i.stage), i) for i in self.invariants)
        listed = {(i.name, i.stage) for i in self.invariants}
        more = tuple(i for i in measured.invariants if (i.name, i.stage) not in listed)
        return Findings(self.diagnostics + measured.diagnostics, invariants + more)


def bound(name: str, value: float, limit: float | None = None) -> float | None:
    """The lowest bound within `limit` that the size of a value keeps; None where the value is more than rounding."""
    most = inf if limit is None else limit
    return next((bound for bound in ROUNDING.get(name, ()) if abs(value) <= bound <= most), None)


def strictest(node: Node, limit: Callable[[Invariants], float | None]) -> tuple[float, LoadedSpec] | None:
    """The lowest limit that the points sharing a node set to it, and the spec that does; None without a limit.

    Controls are there to be measured: no invariant binds them.
    """
    if node.arm != "main":
        return None
    found = [(value, spec) for spec in node.specs if (value := limit(spec.spec.invariants)) is not None]
    return min(found, key=lambda pair: pair[0], default=None)

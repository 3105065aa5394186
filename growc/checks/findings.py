"""What a check sees and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from growc.diagnostics import Diagnostic
from growc.diagnostics.invariant import Invariant
from growc.growth.graph import GrowthGraph, Node
from growc.spec import LoadedSpec
from growc.spec.baselines import MAIN
from growc.spec.schema import Invariants

if TYPE_CHECKING:
    from growc.model.source import ModelSource


@dataclass(frozen=True)
class Context:
    """A loaded spec, the model it starts from, and what it does to that model."""

    loaded: LoadedSpec
    source: ModelSource
    graph: GrowthGraph


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


def strictest(node: Node, limit: Callable[[Invariants], float | None]) -> tuple[float, LoadedSpec] | None:
    """The lowest limit that the points sharing a node set to it, and the spec that does; None without a limit.

    Controls are there to be measured: no invariant binds them.
    """
    if node.arm != MAIN:
        return None
    found = [(value, spec) for spec in node.specs if (value := limit(spec.spec.invariants)) is not None]
    return min(found, key=lambda pair: pair[0], default=None)


def loss_limit(node: Node) -> tuple[float, LoadedSpec] | None:
    """The largest rise of the validation loss that a node may cause, in nats, and the spec that says so."""
    return strictest(node, lambda invariants: invariants.loss and invariants.loss.max_increase)

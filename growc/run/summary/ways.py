"""The way of an arm through the growth graph, and what its stages measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np

from growc.growth.graph import ArmPath, GrowNode, GrowthGraph, State, TrainNode, digest
from growc.records.folder import RunFolder
from growc.records.metrics import read_rows
from growc.records.read import read_record
from growc.records.results import GrowResult, Result, TrainResult
from growc.run.summary.statistics import Floats


@dataclass(frozen=True)
class Measured:
    """What a finished node left in its folder.

    `validations` are pairs of a step and the validation loss after it; `step_seconds` are those of every training step.
    """

    node: TrainNode | GrowNode
    result: Result
    step_seconds: tuple[float, ...] = ()
    validations: tuple[tuple[int, float], ...] = ()

    @cached_property
    def losses(self) -> Floats:
        """Validation losses at the end, by window, in nats."""
        return np.array(self.result.val_losses, dtype=np.float64)

    @property
    def trained(self) -> TrainResult | None:
        """The result of a train node."""
        return self.result if isinstance(self.result, TrainResult) else None

    @property
    def grown(self) -> GrowResult | None:
        """The result of a grow node."""
        return self.result if isinstance(self.result, GrowResult) else None


@dataclass(frozen=True)
class Leg:
    """A node as a part of a way: the way begins it after `offset` training tokens and goes `steps` steps along it.

    Where the node mixes several states, these are the tokens of all that led to them.

    These are fewer than the node's own where the next node starts from the state before its anneal. `pace` is the
    seconds of one step, where it was measured; see `paces`.
    """

    measured: Measured
    offset: int
    steps: int
    pace: float | None

    @property
    def node(self) -> TrainNode | GrowNode:
        """The node."""
        return self.measured.node

    @property
    def tokens(self) -> int:
        """Training tokens of the leg."""
        return self.steps * self.node.training.batch_tokens

    @property
    def flops(self) -> float:
        """FLOPs of training: three times the forward."""
        return 3 * self.node.after.cost.flops_per_token * self.tokens


@dataclass(frozen=True)
class Way:
    """All legs of one arm, from the first to its last node."""

    path: ArmPath
    legs: tuple[Leg, ...]

    @property
    def end(self) -> Measured:
        """The last node."""
        return self.legs[-1].measured

    @property
    def tokens(self) -> int:
        """Training tokens from the source on."""
        return sum(leg.tokens for leg in self.legs)

    @property
    def growth(self) -> Leg | None:
        """The first growth, if the arm grows."""
        return next((leg for leg in self.legs if isinstance(leg.node, GrowNode)), None)

    def seconds(self, *, after_growth: bool = False) -> float | None:
        """Seconds of training: C of arXiv 2604.19835, Eq. 1; None where those of a stage were not measured.

        Growth itself is not counted: it happens once, whatever the number of steps. With `after_growth`, only what is
        left to pay where the source exists already.
        """
        since = self.growth.offset if after_growth and self.growth else 0
        legs = [leg for leg in self.legs if leg.steps and leg.offset >= since]
        paces = [leg.pace for leg in legs if leg.pace is not None]
        return sum(leg.steps * pace for leg, pace in zip(legs, paces, strict=True)) if len(paces) == len(legs) else None


def measure(folder: RunFolder, node: TrainNode | GrowNode) -> Measured:
    """Read what a finished node left."""
    if isinstance(node, GrowNode):
        return Measured(node, read_record(folder.result(node.name), GrowResult))
    metrics = read_rows(folder.metrics(node.name))
    steps = tuple(node.training.batch_tokens / row.tokens_per_second for row in metrics if row.tokens_per_second)
    validations = tuple((row.step, row.val_loss) for row in metrics if row.val_loss is not None)
    return Measured(node, read_record(folder.result(node.name), TrainResult), steps, validations)


def paces(measured: Mapping[str, Measured]) -> dict[str, float]:
    """Seconds per step of train nodes: s of arXiv 2604.19835, Eq. 1, one for each kind of step, not of stage.

    Nodes that do the same work per step (the same model, batch, precision and optimizer) are measured together, as
    the median over all their steps. The sum over an arm's own steps would count what has nothing to do with the
    model: the first steps of a stage and those after a resumption, when memory and kernels are made ready, and
    steps during which the machine was busy with something else. The median forgets those as long as they are fewer
    than half of the steps, and what is left falls on all arms alike. It is still the time on this machine: where it
    was busy throughout, or the number of ranks changed on the way, nothing measured here can tell.
    """
    nodes = [each.node for each in measured.values() if isinstance(each.node, TrainNode)]
    work = {node.name: _work(node) for node in nodes}
    pooled: dict[str, list[float]] = {}
    for name, kind in work.items():
        pooled.setdefault(kind, []).extend(measured[name].step_seconds)
    return {name: median(pooled[kind]) for name, kind in work.items() if pooled[kind]}


def _work(node: TrainNode) -> str:
    training = node.training
    return digest(
        node.after.config, node.sequence_length, training.batch_tokens, training.precision.model_dump(),
        training.optimizer.name, training.balance.method,
    )  # fmt: skip


def way(graph: GrowthGraph, path: ArmPath, measured: Mapping[str, Measured], pace: Mapping[str, float]) -> Way:
    """The way of an arm, with how far it goes along each stage."""
    legs: dict[str, Leg] = {}
    before: dict[str, set[str]] = {}
    left = {state for name in path.nodes for state in graph.node(name).starts}
    for name in path.nodes:
        node = measured[name].node
        stable = State(name, "stable") in left and State(name) not in left
        steps = node.steps_to("stable" if stable else "end")
        parents = {state.node for state in node.starts if state.node is not None}
        before[name] = parents.union(*(before[parent] for parent in parents))
        offset = sum(legs[parent].tokens for parent in before[name])
        legs[name] = Leg(measured[name], offset, steps, pace.get(name))
    return Way(path, tuple(legs.values()))

"""The way of an arm through the growth graph, and what its stages measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np

from growc.growth.graph import ArmPath, GrowNode, Port, State, TrainNode, digest
from growc.records.folder import RunFolder
from growc.records.metrics import read_rows
from growc.records.read import read_record
from growc.records.results import GrowResult, Result, TrainResult
from growc.records.trajectory import Trajectory, segments
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

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    @property
    def starts(self) -> tuple[State, ...]:
        """All states that the node starts from."""
        return self.node.starts

    @property
    def grows(self) -> bool:
        """Whether the node grows."""
        return isinstance(self.node, GrowNode)

    @property
    def batch_tokens(self) -> int:
        """Training tokens of a step."""
        return self.node.training.batch_tokens

    def steps_to(self, port: Port) -> int:
        """Steps up to the node's end, or to the stable state before its anneal."""
        return self.node.steps_to(port)

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
class Way(Trajectory[Measured]):
    """The trajectory of an arm; `pace` has the seconds of one step of stages by name, where they were measured."""

    path: ArmPath
    pace: Mapping[str, float]

    @property
    def flops(self) -> float:
        """FLOPs of training: three times the forward."""
        return sum(3 * segment.stage.node.after.cost.flops_per_token * segment.tokens for segment in self.segments)

    def seconds(self, *, after_growth: bool = False) -> float | None:
        """Seconds of training: C of arXiv 2604.19835, Eq. 1; None where those of a stage were not measured.

        Growth itself is not counted: it happens once, whatever the number of steps. With `after_growth`, only what is
        left to pay where the source exists already.
        """
        since = self.growth.offset if after_growth and self.growth else 0
        paid = [segment for segment in self.segments if segment.steps and segment.offset >= since]
        if any(segment.stage.name not in self.pace for segment in paid):
            return None
        return sum(segment.steps * self.pace[segment.stage.name] for segment in paid)


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


def way(path: ArmPath, measured: Mapping[str, Measured], pace: Mapping[str, float]) -> Way:
    """The way of an arm, with how far it goes along each stage."""
    return Way(segments([measured[name] for name in path.nodes]), path, pace)

"""What a report knows of a run: its stages with all they measured, and the trail of every arm through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from growc.growth.graph import Port, State
from growc.plan.plan import Growth, InvariantRecord, Plan
from growc.plan.plan import Stage as PlannedStage
from growc.records.results import GrowResult, Result, TrainResult
from growc.records.summary import ArmRecord, Comparison, GroupRecord
from growc.records.trajectory import Trajectory
from growc.spec.points import Point
from growc.spec.stage_name import StageName

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Training and validation losses of one stage over its own tokens, in nats per token."""

    tokens: Floats
    loss: Floats
    val_tokens: Floats
    val_loss: Floats


@dataclass(frozen=True)
class Clock:
    """Seconds of one stage: of its steps, of its growth, and from its start to its end over all sessions."""

    training: float = 0.0
    growing: float = 0.0
    total: float = 0.0

    @property
    def rest(self) -> float:
        """Loading, validating, saving."""
        return max(self.total - self.training - self.growing, 0.0)

    @property
    def work(self) -> float:
        """Training or growing."""
        return self.training + self.growing


@dataclass(frozen=True)
class Stage:
    """A stage that has begun.

    `starts` are the states that it starts from, of no node where these are sources; `done_steps` and `stable_steps` are
    its training steps so far and up to its anneal, once the state there is saved.
    """

    planned: PlannedStage
    starts: tuple[State, ...]
    curve: Curve
    clock: Clock
    done_steps: int
    stable_steps: int | None
    result: Result | None

    @property
    def batch_tokens(self) -> int:
        """Training tokens of a step."""
        return self.planned.tokens // self.planned.steps if self.planned.steps else 0

    @property
    def done_tokens(self) -> int:
        """Its training tokens so far."""
        return self.done_steps * self.batch_tokens

    def steps_to(self, port: Port) -> int:
        """Its steps so far, or up to its anneal."""
        return self.stable_steps if port == "stable" and self.stable_steps is not None else self.done_steps

    @property
    def name(self) -> str:
        """As in the plan: `stage`, after the arm if it is not the main one, after the point of a sweep."""
        return self.planned.name

    @property
    def point(self) -> Point:
        """The axes of the sweep that the stage depends on, with their labels."""
        return StageName.read(self.name).point

    @property
    def arm(self) -> str:
        """The arm that the stage belongs to."""
        return StageName.read(self.name).arm

    @property
    def stage(self) -> str:
        """The stage of the spec."""
        return StageName.read(self.name).stage

    @property
    def grows(self) -> bool:
        """Whether this is a grow stage."""
        return self.planned.kind == "grow"

    @property
    def trained(self) -> TrainResult | None:
        """The result of a finished train stage."""
        return self.result if isinstance(self.result, TrainResult) else None

    @property
    def grown(self) -> GrowResult | None:
        """The result of a finished grow stage."""
        return self.result if isinstance(self.result, GrowResult) else None

    @property
    def loss(self) -> float | None:
        """Mean validation loss at the end, once there."""
        return mean(self.result.val_losses) if self.result else None


@dataclass(frozen=True)
class Trail(Trajectory[Stage]):
    """The trajectory to a stage from which nothing else starts; `point` is where in a sweep, as far as it matters."""

    arm: str
    label: str
    point: Point = ()

    @property
    def seconds(self) -> float:
        """Seconds of work along the trail, every stage in full."""
        return sum(segment.stage.clock.work for segment in self.segments)


@dataclass(frozen=True)
class Run:
    """One run folder. `label` tells it from the other runs of a report; `seconds` is the time of all sessions."""

    path: Path
    label: str
    plan: Plan
    stages: tuple[Stage, ...]
    trails: tuple[Trail, ...]
    comparison: Comparison
    invariants: tuple[InvariantRecord, ...]
    seconds: float
    ended: float | None
    sessions: int
    machine: str
    arms: tuple[ArmRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every stage of the plan is done."""
        return sum(stage.result is not None for stage in self.stages) == len(self.plan.stages)

    @property
    def swept(self) -> bool:
        """Whether the plan is a sweep over several points, each with arms of its own."""
        return self.plan.sweep is not None and self.plan.sweep.points > 1

    def grown(self, arm: str | None = None) -> tuple[Stage, ...]:
        """The finished grow stages, of all arms or of one."""
        return tuple(stage for stage in self.stages if stage.grown and (arm is None or stage.arm == arm))

    def growth(self, stage: Stage) -> Growth:
        """What is planned for a grow stage."""
        return next(growth for growth in self.plan.growth if growth.stage == stage.name)

    def trail_of(self, arm: str) -> Trail | None:
        """The way of the arm's last stage, if the arm has begun."""
        return next((trail for trail in reversed(self.trails) if trail.arm == arm), None)


def mean(values: Sequence[float] | Floats) -> float:
    """The mean over validation windows."""
    return float(np.mean(values))


def standard_error(values: Floats) -> float:
    """Standard error of the mean over validation windows; not a number for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")

"""What a report knows of a run: its stages with all they measured, and the trail of every arm through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from growc.plan.plan import Growth, InvariantRecord, Plan
from growc.plan.plan import Stage as PlannedStage
from growc.report.records import Comparison, Result

Floats = NDArray[np.float64]

ARMS = ("main", "fixed_source", "fixed_target")


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

    `start` is the stage before it (None: the source), `from_stable` whether it goes on from before that one's anneal;
    `done_tokens` and `stable_tokens` are its own training tokens so far and up to its anneal.
    """

    planned: PlannedStage
    start: str | None
    from_stable: bool
    curve: Curve
    clock: Clock
    done_tokens: float
    stable_tokens: float | None
    result: Result | None

    @property
    def name(self) -> str:
        """As in the plan; controls are called `arm/stage`."""
        return self.planned.name

    @property
    def arm(self) -> str:
        """The arm that the stage belongs to."""
        head = self.name.split("/")[0]
        return head if head in ARMS else "main"

    @property
    def grows(self) -> bool:
        """Whether this is a grow stage."""
        return self.planned.kind == "grow"

    @property
    def loss(self) -> float | None:
        """Mean validation loss at the end, once there."""
        return mean(self.result.val_losses) if self.result else None


@dataclass(frozen=True)
class Leg:
    """A stage as a part of a trail: it starts after `offset` tokens and counts up to `tokens` of its own."""

    stage: Stage
    offset: float
    tokens: float


@dataclass(frozen=True)
class Trail:
    """From the source to a stage from which nothing else starts."""

    arm: str
    label: str
    legs: tuple[Leg, ...]

    @property
    def end(self) -> Stage:
        """The last stage."""
        return self.legs[-1].stage

    @property
    def tokens(self) -> float:
        """Training tokens along the trail."""
        return self.legs[-1].offset + self.legs[-1].tokens

    @property
    def seconds(self) -> float:
        """Seconds of work along the trail, every stage in full."""
        return sum(leg.stage.clock.work for leg in self.legs)


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

    @property
    def complete(self) -> bool:
        """Whether every stage of the plan is done."""
        return sum(stage.result is not None for stage in self.stages) == len(self.plan.stages)

    def grown(self) -> tuple[Stage, ...]:
        """The finished grow stages."""
        return tuple(stage for stage in self.stages if stage.grows and stage.result)

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

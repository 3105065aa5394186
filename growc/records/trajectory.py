"""The way of an arm through its stages, with how far it goes along each: of a plan, or of a run so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from growc.growth.graph import Port, State


class Passed(Protocol):
    """A stage that arms pass through."""

    @property
    def name(self) -> str:
        """What it is called; other stages start from it by this name."""
        ...

    @property
    def starts(self) -> Sequence[State]:
        """All states that it starts from."""
        ...

    @property
    def grows(self) -> bool:
        """Whether it is a grow stage."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Training tokens of a step."""
        ...

    def steps_to(self, port: Port) -> int:
        """Optimizer steps up to its end, or to the stable state before its anneal."""
        ...


Stage = TypeVar("Stage", bound=Passed)


@dataclass(frozen=True)
class Segment(Generic[Stage]):
    """A stage as a part of a trajectory, which begins it after `offset` tokens and goes `steps` steps along it.

    These are fewer than the stage's own where the next one starts from the state before its anneal. Where it mixes
    several states, the tokens of all that led to them stand before it.
    """

    stage: Stage
    offset: int
    steps: int

    @property
    def tokens(self) -> int:
        """Training tokens of the segment."""
        return self.steps * self.stage.batch_tokens


@dataclass(frozen=True)
class Trajectory(Generic[Stage]):
    """All segments of one arm, from the first to its last stage."""

    segments: tuple[Segment[Stage], ...]

    @property
    def end(self) -> Stage:
        """The last stage."""
        return self.segments[-1].stage

    @property
    def tokens(self) -> int:
        """Training tokens from the source on."""
        return sum(segment.tokens for segment in self.segments)

    @property
    def growth(self) -> Segment[Stage] | None:
        """The first growth, if the arm grows."""
        return next((segment for segment in self.segments if segment.stage.grows), None)

    @property
    def trunk(self) -> tuple[Segment[Stage], ...]:
        """The segments from the source to the end, along the first state where several are mixed."""
        by_name, way = {segment.stage.name: segment for segment in self.segments}, [self.segments[-1]]
        while (starts := way[-1].stage.starts) and (before := by_name.get(starts[0].node or "")):
            way.append(before)
        return tuple(reversed(way))


def segments(stages: Sequence[Stage]) -> tuple[Segment[Stage], ...]:
    """The segments of an arm; each counts as far as the furthest of those after it took it.

    Args:
        stages: those on the way, each after what it starts from.
    """
    left = {state for stage in stages for state in stage.starts}
    found: dict[str, Segment[Stage]] = {}
    before: dict[str, set[str]] = {}
    for stage in stages:
        stable = State(stage.name, "stable") in left and State(stage.name) not in left
        parents = {state.node for state in stage.starts if state.node is not None and state.node in found}
        before[stage.name] = parents.union(*(before[parent] for parent in parents))
        offset = sum(found[name].tokens for name in before[stage.name])
        found[stage.name] = Segment(stage, offset, stage.steps_to("stable" if stable else "end"))
    return tuple(found.values())

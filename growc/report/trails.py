"""The way of every arm through the stages that have begun."""

from __future__ import annotations

from collections.abc import Collection

from growc.records.trajectory import segments
from growc.report.history import Stage, Trail
from growc.spec.baselines import ARMS
from growc.spec.points import Point

ARM_NAMES = {
    "main": "grown", "fixed_source": "source alone", "fixed_target": "from scratch",
    "random_allocation": "random allocation", "scaled_top_k": "scaled top-K", "random_experts": "random experts",
}  # fmt: skip
"""What the arms are called in pictures and tables."""


def trails(stages: tuple[Stage, ...], also: Collection[str] = ()) -> tuple[Trail, ...]:
    """One trail per stage that nothing else starts from, the arm's last stage told apart from its branches.

    Stages named in `also` end a trail even where another arm goes on from them.
    """
    by_name = {stage.name: stage for stage in stages}
    started_from = {state.node for stage in stages for state in stage.starts}
    ends = [stage for stage in stages if stage.name not in started_from or stage.name in also]
    found: list[Trail] = []
    for arm in ARMS:
        for point in dict.fromkeys(stage.point for stage in ends if stage.arm == arm):
            mine = [stage for stage in ends if (stage.arm, stage.point) == (arm, point)]
            for end in mine:
                name = ", ".join((ARM_NAMES[arm], *words(point)))
                label = name if end is mine[-1] else f"{name}, to {end.stage}"
                found.append(Trail(segments(tuple(_before(end, by_name).values())), arm, label, point))
    return tuple(found)


def words(point: Point) -> list[str]:
    """A point in words, one per axis."""
    return [f"{axis} {label}" for axis, label in point]


def _before(end: Stage, stages: dict[str, Stage]) -> dict[str, Stage]:
    """`end` and all that led to it, each after what it starts from."""
    found: dict[str, Stage] = {}
    for state in end.starts:
        if state.node in stages:
            found |= _before(stages[state.node], stages)
    return found | {end.name: end}

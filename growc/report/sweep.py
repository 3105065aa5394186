"""The arms of a sweep, put together by what they have in common but the seed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from growc.growth.graph import State
from growc.records.summary import ArmRecord, GroupRecord
from growc.report.history import Floats, Run, Trail
from growc.report.trails import ARM_NAMES
from growc.spec.baselines import CONTROLS, MAIN

SEED = "seed"
"""What the axis over `training.seed` is called. A finished run says itself which axes are left out of its groups."""


@dataclass(frozen=True)
class Group:
    """Arms that differ in their seed only, in the order of their seeds.

    `losses` are those at the end, in nats, of the arms that are there. `sources` and `targets` are their controls of
    the same seed. `record` and `arms` are what the finished run says of them; nothing before.
    """

    name: str
    arm: str
    trails: tuple[Trail, ...]
    losses: Floats
    sources: tuple[Trail | None, ...]
    targets: tuple[Trail | None, ...]
    record: GroupRecord | None = None
    arms: tuple[ArmRecord, ...] = ()

    @property
    def grows(self) -> bool:
        """Whether these arms are no controls."""
        return self.arm not in CONTROLS


def groups(run: Run) -> tuple[Group, ...]:
    """The groups of a sweep, controls last. Those whose arms are the same stages at several points are one."""
    found = _recorded(run) if run.groups else _under_way(run)
    return (*(g for g in found if g.grows), *(g for arm in CONTROLS for g in found if g.arm == arm))


def _recorded(run: Run) -> list[Group]:
    by_end = {trail.end.name: trail for trail in run.trails}
    alike: dict[tuple[str, tuple[str, ...]], list[GroupRecord]] = {}
    for record in run.groups:
        alike.setdefault((record.arm, record.ends), []).append(record)
    points = [_common([record.point for record in records]) for records in alike.values()]
    names = named([(arm, point) for (arm, _), point in zip(alike, points, strict=True)])
    found: list[Group] = []
    for name, ((arm, ends), records) in zip(names, alike.items(), strict=True):
        arms = [next(a for a in run.arms if (a.arm, a.end) == (arm, end)) for end in ends]
        sources, targets = (tuple(by_end.get(a.controls.get(control, "")) for a in arms) for control in CONTROLS)
        ways = tuple(by_end[end] for end in ends)
        found.append(Group(name, arm, ways, _losses(ways), sources, targets, records[0], tuple(arms)))
    return found


def _under_way(run: Run) -> list[Group]:
    """By the names of the stages. Of a group in which some arms have ended, these."""
    passed = {State.read(start).node for stage in run.plan.stages for start in stage.start}
    alike: dict[tuple[str, tuple[tuple[str, str], ...]], list[Trail]] = {}
    for trail in run.trails:
        point = tuple(pair for pair in trail.point if pair[0] != SEED)
        alike.setdefault((trail.arm, point), []).append(trail)
    names = named([(arm, dict(point)) for arm, point in alike])
    found: list[Group] = []
    for name, ((arm, _), ways) in zip(names, alike.items(), strict=True):
        ended = [way for way in ways if way.end.result and way.end.name not in passed]
        shown = tuple(ended or ways)
        sources, targets = (tuple(_control(run, way, control) for way in shown) for control in CONTROLS)
        found.append(Group(name, arm, shown, _losses(ended), sources, targets))
    return found


def _losses(ways: Sequence[Trail]) -> Floats:
    return np.array([way.end.loss for way in ways if way.end.loss is not None], dtype=np.float64)


def _control(run: Run, trail: Trail, arm: str) -> Trail | None:
    """The control that goes with a trail: it depends on nothing in which the two differ."""
    return next((t for t in run.trails if t.arm == arm and set(t.point) <= set(trail.point)), None)


def _common(points: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {axis: label for axis, label in points[0].items() if all(point.get(axis) == label for point in points)}


def named(groups: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    """Short names for pairs of an arm and its point: axes that never vary are left out, words stand for themselves."""
    axes = {axis for _, point in groups for axis in point}
    varied = {axis for axis in axes if len({point[axis] for _, point in groups if axis in point}) > 1}

    def word(axis: str, label: str) -> str:
        alone = len(varied) == 1 and re.match("[A-Za-z]{3}", label) and label not in {"true", "false", "null"}
        return label if alone else f"{axis} {label}"

    names: list[str] = []
    for arm, point in groups:
        where = ", ".join(word(axis, label) for axis, label in point.items() if axis in varied)
        several = len({name for name, _ in groups if name not in CONTROLS}) > 1
        head = ARM_NAMES[arm] if arm != MAIN or not where or several else ""
        names.append(" \N{MIDDLE DOT} ".join(part for part in (head, where) if part))
    return names

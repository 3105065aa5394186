"""The lines of a section's table: our groups with what is paired with them, and the paper's figures beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.expert_upcycling.paper import PaperRow, PaperSection
from benchmarks.expert_upcycling.results import Arm, Group, Point, Result
from benchmarks.expert_upcycling.sections import Section
from growc.report.numbers import MINUS

CONTROLS = ("fixed_source", "fixed_target")


@dataclass(frozen=True)
class Figure:
    """A mean with its standard error: over seeds, or (`windows`) of a single seed over its validation windows."""

    mean: float
    error: float | None = None
    windows: bool = False


@dataclass(frozen=True)
class Line:
    """One line: an arm of ours, of the paper's, or both. `point` has only the axes on which the line depends."""

    point: Point
    arm: str
    group: Group | None = None
    members: tuple[Arm, ...] = ()
    paper: PaperRow | None = None
    vs_reference: Figure | None = None

    @property
    def name(self) -> str:
        """The labels of the line's choices, and the control if it is one."""
        words = [*self.point.values(), *([] if self.arm == "main" else [self.arm])]
        return " \N{MIDDLE DOT} ".join(words) or "grown"

    @property
    def val_loss(self) -> Figure | None:
        """The final loss."""
        return Figure(self.group.val_loss, self.group.val_loss_se) if self.group else None

    @property
    def vs_source(self) -> Figure | None:
        """Minus that of fixed_source."""
        if self.group is None or self.group.vs_source is None:
            return None
        return self._figure(self.group.vs_source, self.group.vs_source_se, self.members[0].vs_source_noise)

    @property
    def vs_target(self) -> Figure | None:
        """Minus that of fixed_target."""
        if self.group is None or self.group.vs_target is None:
            return None
        return self._figure(self.group.vs_target, self.group.vs_target_se, self.members[0].vs_target_noise)

    @property
    def closed(self) -> Figure | None:
        """The share of the gap between the controls that the arm closed."""
        if self.group is None or self.group.eta is None:
            return None
        return self._figure(self.group.eta, self.group.eta_se, self.members[0].eta_noise)

    @property
    def jump(self) -> Figure | None:
        """What the growth did to the loss at once."""
        pairs = [(arm.val_loss_after_growth, arm.val_loss_before_growth) for arm in self.members]
        jumps = [after - before for after, before in pairs if after is not None and before is not None]
        return over_seeds(jumps) if len(jumps) == len(pairs) and jumps else None

    @property
    def passing(self) -> tuple[float | None, int]:
        """Median training tokens after the growth until fixed_source is passed, and how many seeds got there."""
        tokens = [arm.tokens_to_pass_source for arm in self.members if arm.tokens_to_pass_source is not None]
        return (float(np.median(tokens)) if tokens else None), len(tokens)

    def _figure(self, mean: float, error: float | None, noise: float | None) -> Figure:
        alone = len(self.members) == 1
        return Figure(mean, noise if alone else error, windows=alone)


def over_seeds(values: Sequence[float]) -> Figure:
    """The mean and its standard error over seeds; a single seed has none."""
    array = np.array(values)
    error = float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else None
    return Figure(float(array.mean()), error)


def axes_of(result: Result) -> list[str]:
    """The axes of the sweep without the seed, in its order."""
    return list(dict.fromkeys(axis for group in result.groups for axis in group.point))


def lines(result: Result, section: Section, paper: PaperSection | None) -> list[Line]:
    """All lines of a result, point by point: controls, then what grows, then what only the paper has."""
    rows = beside(result, paper)
    found = [_with_paper(line, rows) for line in _ours(result, section)]
    ours = [line.paper for line in found]
    found += [Line(row.point, row.arm, paper=row) for row in rows if row not in ours]
    order = {axis: _labels(result, axis) for axis in axes_of(result)}

    def place(line: Line) -> tuple[list[int], int]:
        outer = [order[axis].index(line.point[axis]) if axis in line.point else -1 for axis in list(order)[:-1]]
        return outer, 0 if line.arm in CONTROLS else 1 if line.group else 2

    return sorted(found, key=place)


def beside(result: Result, paper: PaperSection | None) -> list[PaperRow]:
    """The paper's rows for what we ran: where we have two axes, those of our labels on all but the last."""
    outer = {axis: _labels(result, axis) for axis in axes_of(result)[:-1]}
    rows = paper.rows if paper else ()
    return [row for row in rows if all(row.point.get(axis) in labels for axis, labels in outer.items())]


def _labels(result: Result, axis: str) -> list[str]:
    return list(dict.fromkeys(group.point[axis] for group in result.groups if axis in group.point))


def _with_paper(line: Line, rows: Sequence[PaperRow]) -> Line:
    row = next((row for row in rows if line.group is not None and row.is_of(line.group)), None)
    return Line(line.point, line.arm, line.group, line.members, row, line.vs_reference)


def _ours(result: Result, section: Section) -> Iterator[Line]:
    """Groups that are the same runs, as the controls of several points may be, are one line."""
    same: dict[tuple[str, ...], list[Group]] = {}
    for group in result.groups:
        same.setdefault((group.arm, *group.ends), []).append(group)
    for (arm, *_), groups in same.items():
        first, *others = groups
        point = {axis: label for axis, label in first.point.items() if all(o.point[axis] == label for o in others)}
        yield Line(point, arm, first, result.members(first), vs_reference=_against(result, first, section))


def _against(result: Result, group: Group, section: Section) -> Figure | None:
    """The mean difference to the reference of the same seed and otherwise the same point."""
    if section.reference is None or group.arm in CONTROLS:
        return None
    axis, label = section.reference
    if axis not in group.point or (group.point[axis] == label and group.arm == "main"):
        return None
    return paired(result, group, _at(result, group.point | {axis: label}, "main"))


def _at(result: Result, point: Point, arm: str) -> Group | None:
    return next((group for group in result.groups if group.point == point and group.arm == arm), None)


def paired(result: Result, first: Group | None, second: Group | None) -> Figure | None:
    """The mean over seeds of first minus second; None if one of them was not run, or they share no seed."""
    if first is None or second is None:
        return None
    theirs = {arm.seed: arm.val_loss for arm in result.members(second)}
    differences = [arm.val_loss - theirs[arm.seed] for arm in result.members(first) if arm.seed in theirs]
    return over_seeds(differences) if differences else None


def contrasts(result: Result, section: Section) -> Iterator[tuple[str, Figure]]:
    """The section's pairs at every point where both were run, with what to call them."""
    for first, second in section.contrasts:
        for group in result.groups:
            if group.arm == first.arm and group.point.get(first.axis) == first.label:
                other = _at(result, group.point | {second.axis: second.label}, second.arm)
                difference = paired(result, group, other)
                elsewhere = ", ".join(f"{axis} {label}" for axis, label in group.point.items() if axis != first.axis)
                if difference is not None:
                    yield f"{first.name} {MINUS} {second.name}" + (f" at {elsewhere}" if elsewhere else ""), difference

"""Arms that differ in their seed only, with errors over seeds.

The spread between seeds is far larger than that between validation windows, and what an arm and its control have in
common through their seed (the trunk, the order of the data) falls out of their difference: so everything here is taken
per seed first, and its mean and standard error over seeds after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from growc.growth.graph import Point
from growc.records.summary import GroupRecord
from growc.run.summary.arms import Arm
from growc.run.summary.statistics import Closure, Floats, closure, mean_and_error
from growc.spec.baselines import CONTROLS, Control


@dataclass(frozen=True)
class Group:
    """Arms of one name at one point of the sweep, seeds left out of it."""

    point: Point
    name: str
    arms: tuple[Arm, ...]

    @property
    def losses(self) -> Floats:
        """Mean validation losses at the end, by seed, in nats."""
        return np.array([arm.losses.mean() for arm in self.arms])

    def control(self, name: Control) -> Floats | None:
        """The control's losses by seed; None if one of the arms has no such control."""
        found = [arm.control(name) for arm in self.arms]
        losses = [way.end.losses.mean() for way in found if way is not None]
        return np.array(losses) if len(losses) == len(found) else None

    def closure(self) -> Closure:
        """The share over seeds: mean gain over mean gap, with its error. A single seed has that over its windows."""
        if len(self.arms) == 1:
            return self.arms[0].closure()
        source, target = (self.control(name) for name in CONTROLS)
        if source is None or target is None or not all(arm.grows for arm in self.arms):
            reasons = {str(arm.closure().why_null) for arm in self.arms if arm.closure().gap is None}
            return Closure(why_null="; ".join(sorted(reasons)))
        return closure(source, self.losses, target, over="seed")


def grouped(arms: Sequence[Arm], seed_axes: Sequence[str]) -> tuple[Group, ...]:
    """The groups in the order of their first arms; `seed_axes` are the axes that set nothing but the seed."""
    found: dict[tuple[Point, str], list[Arm]] = {}
    for arm in arms:
        point = tuple((axis, label) for axis, label in arm.way.path.point if axis not in seed_axes)
        found.setdefault((point, arm.way.path.arm), []).append(arm)
    return tuple(Group(point, name, tuple(members)) for (point, name), members in found.items())


def record(group: Group) -> GroupRecord:
    """An entry of `groups`."""
    mean, error = mean_and_error(group.losses)
    closed, saved, several = group.closure(), _savings(group), len(group.arms) > 1
    vs_source, vs_source_se = _difference(group, "fixed_source")
    vs_target, vs_target_se = _difference(group, "fixed_target")
    return GroupRecord(
        point=dict(group.point),
        arm=group.name,
        n=len(group.arms),
        seeds=tuple(arm.way.path.seed for arm in group.arms),
        ends=tuple(arm.way.path.nodes[-1] for arm in group.arms),
        val_loss=mean,
        val_loss_se=error,
        eta=closed.eta,
        eta_se=closed.eta_error if several else None,
        gap=closed.gap,
        gap_se=closed.gap_error if several else None,
        vs_source=vs_source,
        vs_source_se=vs_source_se,
        vs_target=vs_target,
        vs_target_se=vs_target_se,
        saving=saved[0] if saved else None,
        sunk_saving=saved[1] if saved else None,
        why_null=closed.why_null,
    )


def _difference(group: Group, name: Control) -> tuple[float | None, float | None]:
    """Arm minus control, with its error over seeds."""
    control = group.control(name)
    if control is None or group.name == name:
        return None, None
    return mean_and_error(group.losses - control)


def _savings(group: Group) -> tuple[float, float] | None:
    """Means over seeds; None if one of the arms has none."""
    found = [saved for arm in group.arms if not isinstance(saved := arm.savings(), str)]
    if len(found) < len(group.arms):
        return None
    return float(np.mean([saved[0] for saved in found])), float(np.mean([saved[1] for saved in found]))

"""The tables on the arms of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from growc.records.summary import ArmRecord, GroupRecord
from growc.report.numbers import MINUS, NONE, change, count, error, loss, percent, plain
from growc.report.palette import Look, look_of
from growc.report.sweep import Group
from growc.run.summary.statistics import mean_and_error
from growc.spec.baselines import CONTROLS

PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


@dataclass(frozen=True)
class GroupRow:
    """Arms that differ in their seed only: means over seeds with standard errors."""

    look: Look
    name: str
    seeds: str
    loss: str
    source: str
    target: str
    eta: str
    saving: str


@dataclass(frozen=True)
class InsideRow:
    """What a growth did, and what became of its experts: means over seeds."""

    look: Look
    name: str
    growth: str
    predicted: str
    passes: str
    apart: str
    busiest: str
    dead: str
    phi: str
    capacity: str
    nearer: str


def group_rows(groups: Sequence[Group]) -> list[GroupRow]:
    """One row per group; before the run is finished only the losses of what has ended."""
    return [_group(group) for group in groups if len(group.losses)]


def _group(group: Group) -> GroupRow:
    record = group.record
    if record is None:
        average, spread = mean_and_error(group.losses)
        mean = _with(loss(average, 4), spread)
        return GroupRow(look_of(group.arm), group.name, str(len(group.losses)), mean, NONE, NONE, NONE, NONE)
    return GroupRow(
        look_of(group.arm),
        group.name,
        str(record.n),
        _with(loss(record.val_loss, 4), record.val_loss_se),
        _with(change(record.vs_source), record.vs_source_se),
        _with(change(record.vs_target), record.vs_target_se),
        eta(record),
        percent(record.saving),
    )


def eta(record: GroupRecord) -> str:
    """The share of the gap with its error over seeds."""
    if record.eta is None:
        return NONE
    spread = f" {PLUS_MINUS} {record.eta_se:.2f}" if record.eta_se is not None else ""
    return f"{record.eta:.2f}".replace("-", MINUS) + spread


def _with(value: str, spread: float | None) -> str:
    return f"{value} {PLUS_MINUS} {error(spread)}" if spread is not None else value


def columns(rows: Sequence[GroupRow]) -> dict[str, bool]:
    """Whether there is anything to show against the source, against the target, of the share, of the saving."""
    return {name: any(getattr(row, name) != NONE for row in rows) for name in ("source", "target", "eta", "saving")}


def about(groups: Sequence[Group]) -> list[str]:
    """What to know of the table."""
    several = any(len(group.losses) > 1 for group in groups)
    found = [
        "Means over seeds \N{PLUS-MINUS SIGN} their standard error; differences are taken seed by seed."
        if several
        else "One seed each: nothing is known of the spread between seeds."
    ]
    if any(group.record is None for group in groups):
        found.append("Arms have not ended for the same seeds yet, so their means are not to be compared.")
    shown = columns(group_rows(groups))
    if shown["source"] or shown["target"]:
        found.append("Differences are arm minus control: below zero is better.")
    if shown["saving"]:
        found.append("Time saved is by the median seconds of a step, as a share of the from-scratch arm's.")
    return found + [f"No \N{GREEK SMALL LETTER ETA}: {reason}." for reason in reasons(groups)]


def reasons(groups: Sequence[Group]) -> list[str]:
    """Why shares of the gap are not given: each reason once."""
    found = [g.record.why_null for g in groups if g.grows and g.record and g.record.eta is None and g.record.why_null]
    return list(dict.fromkeys(found))


def inside_rows(groups: Sequence[Group]) -> list[InsideRow]:
    """One row per group that has grown; none before the run is finished."""
    return [_inside(group) for group in groups if group.arms and group.arm not in CONTROLS]


def _inside(group: Group) -> InsideRow:
    def mean(of: Callable[[ArmRecord], float | None]) -> float | None:
        values = [value for arm in group.arms if (value := of(arm)) is not None]
        return float(np.mean(values)) if values else None

    passed = [arm.tokens_to_pass_source for arm in group.arms if arm.tokens_to_pass_source is not None]
    passes = NONE if not passed else count(float(np.mean(passed)))
    if passed and len(passed) < len(group.arms):
        passes += f" ({len(passed)} of {len(group.arms)})"
    return InsideRow(
        look_of(group.arm),
        group.name,
        change(mean(lambda arm: _minus(arm.val_loss_after_growth, arm.val_loss_before_growth))),
        change(mean(lambda arm: _minus(arm.predicted_val_loss, arm.val_loss_before_growth))),
        passes,
        plain(mean(lambda arm: 1 - float(np.mean(list(arm.sibling_cosine.values()))) if arm.sibling_cosine else None)),
        plain(mean(lambda arm: max((each.max_over_mean for each in arm.load.values()), default=None))),
        plain(mean(lambda arm: sum(each.dead for each in arm.load.values()) if arm.load else None)),
        plain(mean(lambda arm: arm.theorem.phi if arm.theorem else None)),
        change(mean(lambda arm: arm.theorem.capacity_term if arm.theorem else None)),
        plain(mean(_nearer)),
    )


def _nearer(arm: ArmRecord) -> float | None:
    """How much nearer to the end the new experts began than random ones: the median over layers."""
    ratios = [r for r in arm.theorem.init_term.values() if r is not None] if arm.theorem else []
    return float(np.median(ratios)) if ratios else None


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b

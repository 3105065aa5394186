"""What a sweep found, in a sentence or two and in key figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from growc.report.headline_metrics import HeadlineMetric
from growc.report.history import Run
from growc.report.numbers import change, duration, error, loss, percent
from growc.report.sweep import Group
from growc.report.sweep_tables import PLUS_MINUS, eta
from growc.run.summary.statistics import NOISE_FACTOR, mean_and_error


def ranked(groups: Sequence[Group]) -> list[Group]:
    """The groups that grow and have ended everywhere, the lowest mean loss first."""
    ended = [g for g in groups if g.grows and len(g.losses) == len(g.trails) and np.isfinite(g.losses).all()]
    return sorted(ended, key=lambda group: float(group.losses.mean()))


def sweep_verdict(run: Run, groups: Sequence[Group]) -> str:
    """Which arm ended lowest, how far from the source alone, and whether the next one can be told from it."""
    order = ranked(groups)
    said = [_best(order), *_next(order)] if run.complete and order else list[str]()
    if not run.complete:
        done = sum(stage.result is not None for stage in run.stages)
        said.append(f"The run is not finished: {done} of {len(run.plan.stages)} stages are done.")
    return " ".join(said) or "No arm of this sweep grows."


def _best(order: Sequence[Group]) -> str:
    best, record = order[0], order[0].record
    mean, spread = mean_and_error(best.losses)
    who = (
        f"Of {len(order)} arms that grow, {best.name} ended lowest, at" if len(order) > 1 else "The grown arm ended at"
    )
    said = f"{who} {loss(mean, 4)}" + _plus_minus(spread) + (" nats" if spread is None else "")
    if record and record.vs_source is not None:
        said += f", {change(record.vs_source)}{_plus_minus(record.vs_source_se)} against the source alone"
    if record and record.eta is not None:
        said += f"; it closed {eta(record)} of the gap to the model from scratch"
    seeds = len(best.losses)
    return f"{said}. " + (
        f"Errors are over {seeds} seeds." if seeds > 1 else "With one seed, nothing is known of the spread over seeds."
    )


def _next(order: Sequence[Group]) -> list[str]:
    """How the second compares, seed by seed where both have the same seeds."""
    if len(order) < 2:
        return []
    best, second = order[:2]
    seeds = [[arm.seed for arm in group.arms] for group in (best, second)]
    if len(best.losses) < 2 or seeds[0] != seeds[1]:
        apart = float(second.losses.mean() - best.losses.mean())
        return [f"The next, {second.name}, ended {loss(apart, 4)} nats behind it."]
    mean, spread = mean_and_error(second.losses - best.losses)
    assert spread is not None
    told = mean >= NOISE_FACTOR * spread
    how = "behind it" if told else f"away, which is under {NOISE_FACTOR} standard errors: the two are not told apart"
    return [f"The next, {second.name}, ended {loss(mean, 4)} {PLUS_MINUS} {error(spread)} nats {how}."]


def _plus_minus(spread: float | None) -> str:
    return f" {PLUS_MINUS} {error(spread)}" if spread is not None else ""


def sweep_tiles(run: Run, groups: Sequence[Group]) -> list[HeadlineMetric]:
    """The key figures of a sweep."""
    found: list[HeadlineMetric] = []
    order = ranked(groups)
    if run.complete and order and (record := order[0].record) is not None:
        over = f" over {record.n} seeds" if record.n > 1 else ", one seed"
        note = f"{order[0].name}{_plus_minus(record.val_loss_se)}{over}"
        found.append(HeadlineMetric("Lowest loss", loss(record.val_loss, 4), note, "nats"))
        if record.vs_source is not None:
            note = f"{order[0].name}{_plus_minus(record.vs_source_se)}{over}"
            found.append(HeadlineMetric("Against the source alone", change(record.vs_source), note, "nats"))
        closed = record.why_null or f"{order[0].name}, of the gap between the controls"
        found.append(HeadlineMetric("Gap closed, \N{GREEK SMALL LETTER ETA}", eta(record), closed))
        if record.saving is not None:
            found.append(
                HeadlineMetric("Time saved", percent(record.saving), "of the from-scratch arm's seconds, by steps")
            )
    if (sweep := run.plan.sweep) is not None:
        controls = f"and {sweep.arms - sweep.points} controls; " if sweep.arms > sweep.points else ""
        note = f"{controls}{len(run.plan.stages)} stages, {sweep.saved_stages} spared by sharing"
        found.append(HeadlineMetric("Arms", str(sweep.points), note))
    where = f"in {run.sessions} sessions" if run.sessions > 1 else run.machine
    return [*found, HeadlineMetric("Total time", duration(run.seconds), where or "from the first stage to the last")]

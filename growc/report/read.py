"""From a run folder to what a report knows of it, finished or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from growc.diagnostics import fail
from growc.plan.freeze import read_plan
from growc.plan.plan import Plan
from growc.plan.plan import Stage as PlannedStage
from growc.report.history import ARMS, Clock, Curve, Floats, Leg, Run, Stage, Trail
from growc.report.records import Event, Result, Row, Summary, read_lines, read_record
from growc.run.folder import RunFolder

ARM_NAMES = {"main": "grown", "fixed_source": "source alone", "fixed_target": "from scratch"}
"""What the arms are called in pictures and tables."""

SOURCE = "source"


def read_runs(folders: Sequence[Path]) -> tuple[Run, ...]:
    """Read all run folders; runs of the same name are told apart by their folders.

    Raises:
        GrowcError: a folder is no run (GROW630), nothing of it is finished (GROW631), or a file of it is damaged
            (GROW632, for the plan GROW603).
    """
    runs = [_read(folder) for folder in folders]
    names, last = Counter(run.plan.name for run in runs), Counter(run.path.name for run in runs)
    return tuple(
        replace(run, label=_label(run, alone=names[run.plan.name] == 1, last_is_enough=last[run.path.name] == 1))
        for run in runs
    )


def _label(run: Run, *, alone: bool, last_is_enough: bool) -> str:
    return run.plan.name if alone else run.path.name if last_is_enough else str(run.path)


def _read(path: Path) -> Run:
    folder = RunFolder(path.resolve())
    if not folder.plan.is_file():
        why = "it has no plan.json" if path.is_dir() else "it does not exist"
        fail("GROW630", f"{path} is not a run folder: {why}", help="give the --run-dir of a `growc run`")
    plan = read_plan(folder.plan)
    journal = read_lines(folder.journal, Event)
    stages = tuple(stage for planned in plan.stages if (stage := _stage(folder, planned, plan, journal)) is not None)
    if not any(stage.result for stage in stages):
        fail("GROW631", f"no stage of {path} is finished", help="wait for the first stage, or resume the run")
    summary = read_record(folder.summary, Summary) if folder.summary.exists() else Summary()
    settled = {(i.name, i.stage): i for i in summary.invariants}
    starts = [event.time for event in journal if event.event == "run_started"]
    machine = next((event for event in reversed(journal) if event.event == "run_started"), None)
    trails = _trails(stages)
    return Run(
        path=folder.path,
        label=plan.name,
        plan=plan,
        stages=stages,
        trails=trails,
        comparison=summary.comparison,
        invariants=tuple(settled.pop((i.name, i.stage), i) for i in plan.invariants) + tuple(settled.values()),
        seconds=sum(_sessions(journal)),
        ended=journal[-1].time if journal else None,
        sessions=max(len(starts), 1),
        machine=_machine(machine) if machine else "",
    )


def _machine(event: Event) -> str:
    ranks = f"{event.ranks} rank{'s' * (event.ranks != 1)}" if event.ranks else ""
    return ", ".join(part for part in (ranks, event.layout, event.device) if part)


def _sessions(journal: list[Event]) -> list[float]:
    """Seconds of every session; the time between an interruption and its resumption belongs to none."""
    lengths, began = list[float](), None
    for before, event in zip([None, *journal], journal, strict=False):
        if began is None or event.event == "run_started":
            if began is not None and before is not None:
                lengths.append(before.time - began)
            began = event.time
    return [*lengths, journal[-1].time - began] if began is not None else lengths


def _stage(folder: RunFolder, planned: PlannedStage, plan: Plan, journal: list[Event]) -> Stage | None:
    """The stage, or None if nothing of it was ever done."""
    at = folder.stage(planned.name)
    result = read_record(at / "result.json", Result) if folder.checkpoint(planned.name).exists() else None
    rows = read_lines(at / "metrics.jsonl", Row)
    if result is None and not rows:
        return None
    batch = planned.tokens / planned.steps if planned.steps else 0.0
    training = sum(batch / row.tokens_per_second for row in rows if row.tokens_per_second)
    start = next(iter(planned.start), SOURCE)
    known = {stage.name for stage in plan.stages}
    name = start.removesuffix(".stable")
    saved = [event.step for event in journal if event.stage == planned.name and event.state == "stable" and event.step]
    return Stage(
        planned=planned,
        start=name if name in known else None,
        from_stable=start.endswith(".stable"),
        curve=_curve(rows, batch),
        clock=Clock(training, (result.seconds or 0.0) if result else 0.0, _wall(planned.name, journal)),
        done_tokens=max((row.step for row in rows), default=0) * batch,
        stable_tokens=saved[-1] * batch if saved else None,
        result=result,
    )


def _curve(rows: list[Row], batch: float) -> Curve:
    trained = [(row.step * batch, row.loss) for row in rows if row.loss is not None]
    validated = [(row.step * batch, row.val_loss) for row in rows if row.val_loss is not None]
    return Curve(*_columns(trained), *_columns(validated))


def _columns(pairs: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    array = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _wall(name: str, journal: list[Event]) -> float:
    """Seconds between the starts of a stage and the last that was heard of it in the same session."""
    total, began, last = 0.0, None, 0.0
    for event in journal:
        if event.event == "run_started" and began is not None:
            total, began = total + last - began, None
        if began is None:
            if event.event == "stage_started" and event.stage == name:
                began = event.time
        elif event.event == "stage_started" and event.stage == name:
            total, began = total + last - began, event.time
        elif event.event == "stage_finished" and event.stage == name:
            total, began = total + event.time - began, None
        last = event.time
    return total + (last - began if began is not None else 0.0)


def _trails(stages: tuple[Stage, ...]) -> tuple[Trail, ...]:
    """One trail per stage that nothing else starts from, the arm's last stage told apart from its branches."""
    by_name = {stage.name: stage for stage in stages}
    started_from = {stage.start for stage in stages}
    ends = [stage for stage in stages if stage.name not in started_from]
    trails: list[Trail] = []
    for arm in ARMS:
        mine = [stage for stage in ends if stage.arm == arm]
        for end in mine:
            label = ARM_NAMES[arm] if end is mine[-1] else f"{ARM_NAMES[arm]}, to {end.name}"
            trails.append(Trail(arm, label, _legs(end, by_name)))
    return tuple(trails)


def _legs(end: Stage, stages: dict[str, Stage]) -> tuple[Leg, ...]:
    """The stages on the way to `end`; each counts as far as the next one took it."""
    way = [(end, end.done_tokens)]
    while (start := way[-1][0].start) is not None and start in stages:
        before, later = stages[start], way[-1][0]
        stable = before.stable_tokens if later.from_stable else None
        way.append((before, before.done_tokens if stable is None else stable))
    legs, offset = list[Leg](), 0.0
    for stage, tokens in reversed(way):
        legs.append(Leg(stage, offset, tokens))
        offset += tokens
    return tuple(legs)

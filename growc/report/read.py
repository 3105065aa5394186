"""From a run folder to what a report knows of it, finished or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from growc.diagnostics import fail
from growc.growth.graph import State
from growc.plan.freeze import read_plan
from growc.plan.plan import InvariantRecord, Plan
from growc.plan.plan import Stage as PlannedStage
from growc.records.folder import RunFolder
from growc.records.journal import Event
from growc.records.loss_invariant import loss_status
from growc.records.metrics import Row
from growc.records.read import read_lines, read_record
from growc.records.results import GrowResult, TrainResult
from growc.records.summary import Summary
from growc.report.clock import length, sessions, wall
from growc.report.history import Clock, Curve, Floats, Run, Stage
from growc.report.trails import trails

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
    starts = sessions(journal)
    return Run(
        path=folder.path,
        label=plan.name,
        plan=plan,
        stages=stages,
        trails=trails(stages, {arm.end for arm in summary.arms}),
        comparison=summary.comparison,
        invariants=_settled(plan, stages, summary),
        seconds=sum(map(length, starts)),
        ended=journal[-1].time if journal else None,
        sessions=len(starts),
        machine=_machine(starts[-1][0]) if starts else "",
        arms=summary.arms,
        groups=summary.groups,
    )


def _settled(plan: Plan, stages: tuple[Stage, ...], summary: Summary) -> tuple[InvariantRecord, ...]:
    """The plan's invariants with what was measured; a summary says it, and before that the growths themselves."""
    measured = {(i.name, i.stage): i for i in summary.invariants}
    changes = {stage.name: stage.grown.increase for stage in stages if stage.grown}
    for i in plan.invariants:
        if i.name == "loss" and i.stage in changes and i.limit is not None:
            status = loss_status(changes[i.stage], i.limit)
            settled = i.model_copy(update={"status": status, "value": changes[i.stage]})
            measured.setdefault((i.name, i.stage), settled)
    return tuple(measured.pop((i.name, i.stage), i) for i in plan.invariants) + tuple(measured.values())


def _machine(event: Event) -> str:
    ranks = f"{event.ranks} rank{'s' * (event.ranks != 1)}" if event.ranks else ""
    return ", ".join(part for part in (ranks, event.layout, event.device) if part)


def _stage(folder: RunFolder, planned: PlannedStage, plan: Plan, journal: list[Event]) -> Stage | None:
    """The stage, or None if nothing of it was ever done."""
    kind = GrowResult if planned.kind == "grow" else TrainResult
    result = read_record(folder.result(planned.name), kind) if folder.checkpoint(planned.name).exists() else None
    rows = read_lines(folder.metrics(planned.name), Row)
    if result is None and not rows:
        return None
    batch = planned.tokens / planned.steps if planned.steps else 0.0
    training = sum(batch / row.tokens_per_second for row in rows if row.tokens_per_second)
    known = {stage.name for stage in plan.stages}
    starts = [State.read(name) for name in planned.start or (SOURCE,)]
    saved = [event.step for event in journal if event.stage == planned.name and event.state == "stable" and event.step]
    return Stage(
        planned=planned,
        starts=tuple(state if state.node in known else State(None) for state in starts),
        curve=_curve(rows, batch),
        clock=Clock(training, result.seconds if isinstance(result, GrowResult) else 0.0, wall(planned.name, journal)),
        done_steps=max((row.step for row in rows), default=0),
        stable_steps=saved[-1] if saved else None,
        result=result,
    )


def _curve(rows: list[Row], batch: float) -> Curve:
    trained = [(row.step * batch, row.loss) for row in rows if row.loss is not None]
    validated = [(row.step * batch, row.val_loss) for row in rows if row.val_loss is not None]
    return Curve(*_columns(trained), *_columns(validated))


def _columns(pairs: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    array = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]

"""What a report takes from a run folder: times over sessions, and the ways of the arms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from growc.plan.freeze import read_plan, write_plan
from growc.records.folder import RunFolder
from growc.records.journal import Event
from growc.report.clock import length, sessions, wall
from growc.report.read import read_runs
from tests.report.folders import BATCH, Made, make_run

SHORT = Made(steps=40)


def test_the_time_between_an_interruption_and_its_resumption_is_nobodys() -> None:
    journal = [
        Event(time=0, event="run_started"),
        Event(time=1, event="stage_started", stage="a"),
        Event(time=5, event="state_saved", stage="a"),
        Event(time=100, event="run_started"),
        Event(time=102, event="stage_started", stage="a"),
        Event(time=110, event="stage_finished", stage="a"),
        Event(time=111, event="stage_started", stage="b"),
        Event(time=113, event="interrupted"),
    ]
    assert [length(session) for session in sessions(journal)] == [5, 13]
    assert wall("a", journal) == 4 + 8
    assert wall("b", journal) == 2
    assert wall("c", journal) == 0


def test_a_trail_counts_what_the_next_stage_took(tmp_path: Path) -> None:
    (run,) = read_runs([make_run(tmp_path / "run", SHORT)])
    ways = {trail.label: [(each.stage.name, each.offset / BATCH) for each in trail.segments] for trail in run.trails}
    assert ways == {
        "grown": [("pretrain", 0), ("upcycle", 36), ("cpt", 36)],
        "source alone": [("pretrain", 0), ("fixed_source/cpt", 36)],
        "from scratch": [("fixed_target/pretrain", 0), ("fixed_target/cpt", 36)],
    }
    assert {trail.tokens for trail in run.trails} == {76 * BATCH}


def test_branches_of_an_arm_are_told_apart(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", replace(SHORT, arms=("fixed_source",)))
    plan = read_plan(RunFolder(path).plan)
    renamed = [s.model_copy(update={"name": s.name.replace("fixed_source/cpt", "side")}) for s in plan.stages]
    write_plan(plan.model_copy(update={"stages": tuple(renamed)}), RunFolder(path).plan)
    (RunFolder(path).stage("fixed_source/cpt")).rename(RunFolder(path).stage("side"))
    (run,) = read_runs([path])
    assert [trail.label for trail in run.trails] == ["grown, to cpt", "grown"]
    assert [trail.end.name for trail in run.trails] == ["cpt", "side"]


def test_the_rest_of_a_stage_is_what_its_work_leaves(tmp_path: Path) -> None:
    (run,) = read_runs([make_run(tmp_path / "run", SHORT)])
    grow = next(stage for stage in run.stages if stage.grows)
    assert grow.clock.growing == pytest.approx(41.7)
    assert grow.clock.rest == pytest.approx(grow.clock.total - 41.7)


def test_what_comes_before_the_ranks_start_is_no_session_of_its_own() -> None:
    names = ["data", "run_started", "stage_started", "interrupted", "run_started", "run_finished"]
    starts = sessions([Event(time=float(i), event=name) for i, name in enumerate(names)])
    assert [[event.event for event in start] for start in starts] == [names[1:4], names[4:]]
    assert sessions([]) == []

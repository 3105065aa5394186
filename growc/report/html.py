"""The page: everything in one file that opens offline, with no scripts."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from growc import __version__
from growc.report.headline_metrics import HeadlineMetric, tiles
from growc.report.history import Run
from growc.report.palette import Look, looks
from growc.report.pictures.experts import divergence, load_curves, worst_load
from growc.report.pictures.growth import k_eff, transitions
from growc.report.pictures.losses import loss_curves
from growc.report.pictures.panels import courses, panels
from growc.report.pictures.seeds import ends
from growc.report.pictures.svg import Picture
from growc.report.pictures.time import where_time_went
from growc.report.sweep import Group, groups
from growc.report.sweep_tables import GroupRow, InsideRow, about, columns, group_rows, inside_rows
from growc.report.sweep_words import sweep_tiles, sweep_verdict
from growc.report.tables import GrowthRow, InvariantRow, arm_rows, growth_rows, invariant_rows
from growc.report.verdict import verdict


@dataclass(frozen=True)
class Chapter:
    """What the page says of one run."""

    run: Run
    verdict: str
    ended: str
    tiles: list[HeadlineMetric]
    growths: list[GrowthRow]
    invariants: list[InvariantRow]
    command: str
    spec: str
    colour: str
    sweep: SweepChapter | None


@dataclass(frozen=True)
class SweepChapter:
    """What the page says of the arms of a sweep, in place of what it says of a run's few arms."""

    ends: Picture | None
    rows: list[GroupRow]
    columns: dict[str, bool]
    about: str
    curves: list[Picture]
    inside: list[InsideRow]


def render(runs: tuple[Run, ...]) -> str:
    """The whole report on `runs` as HTML. Sweeps have chapters of their own; the other runs share pictures."""
    here, styles = files("growc.report"), looks(runs)
    plain = tuple(run for run in runs if not run.swept)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        version=__version__,
        title=" \N{MIDDLE DOT} ".join(run.label for run in runs),
        chapters=[_chapter(run, styles, f"-{number}" if len(runs) > 1 else "") for number, run in enumerate(runs)],
        arms=arm_rows(plain),
        losses=loss_curves(plain) if plain else None,
        growth=_there(transitions(plain), k_eff(plain)),
        load=load_curves(plain),
        experts=_there(worst_load(plain), divergence(plain)),
        time=where_time_went(runs),
    )


def _there(*pictures: Picture | None) -> list[Picture]:
    return [picture for picture in pictures if picture]


def _chapter(run: Run, styles: dict[tuple[str, str], Look], suffix: str) -> Chapter:
    """The chapter of one run; `suffix` tells the names of its pictures from those of other runs."""
    plan = run.plan
    ended = datetime.fromtimestamp(run.ended, UTC).strftime("%Y-%m-%d %H:%M UTC") if run.ended else ""
    overrides = [word for override in plan.overrides for word in ("--set", override)]
    command = shlex.join(["growc", "run", plan.spec_path, *overrides, "--run-dir", str(run.path)])
    swept = groups(run) if run.swept else ()
    swept = groups(run) if run.swept else ()
    return Chapter(
        run,
        sweep_verdict(run, swept) if run.swept else verdict(run),
        ended,
        sweep_tiles(run, swept) if run.swept else tiles(run),
        growth_rows(run),
        invariant_rows(run),
        command,
        yaml.safe_dump(plan.values, sort_keys=False, allow_unicode=True, width=100),
        next(styles[run.label, trail.label].variable for trail in run.trails),
        _sweep(swept, suffix) if run.swept else None,
    )


def _sweep(swept: tuple[Group, ...], suffix: str) -> SweepChapter:
    rows, curves = group_rows(swept), _there(courses(swept, suffix), panels(swept, suffix))
    return SweepChapter(
        ends(swept, suffix), rows, columns(rows), " ".join(about(swept)), curves, inside_rows(swept)
    )  # fmt: skip

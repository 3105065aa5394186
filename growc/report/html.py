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
from growc.report.history import Run
from growc.report.palette import Look, looks
from growc.report.pictures.experts import divergence, load_curves, worst_load
from growc.report.pictures.growth import k_eff, transitions
from growc.report.pictures.losses import loss_curves
from growc.report.pictures.svg import Picture
from growc.report.pictures.time import where_time_went
from growc.report.tables import GrowthRow, InvariantRow, arm_rows, growth_rows, invariant_rows
from growc.report.tiles import Tile, tiles
from growc.report.verdict import verdict


@dataclass(frozen=True)
class Chapter:
    """What the page says of one run."""

    run: Run
    verdict: str
    ended: str
    tiles: list[Tile]
    growths: list[GrowthRow]
    invariants: list[InvariantRow]
    command: str
    spec: str
    colour: str


def render(runs: tuple[Run, ...]) -> str:
    """The whole report on `runs` as HTML."""
    here, styles = files("growc.report"), looks(runs)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        version=__version__,
        title=" \N{MIDDLE DOT} ".join(run.label for run in runs),
        chapters=[_chapter(run, styles) for run in runs],
        arms=arm_rows(runs),
        losses=loss_curves(runs),
        growth=_there(transitions(runs), k_eff(runs)),
        load=load_curves(runs),
        experts=_there(worst_load(runs), divergence(runs)),
        time=where_time_went(runs),
    )


def _there(*pictures: Picture | None) -> list[Picture]:
    return [picture for picture in pictures if picture]


def _chapter(run: Run, styles: dict[tuple[str, str], Look]) -> Chapter:
    plan = run.plan
    ended = datetime.fromtimestamp(run.ended, UTC).strftime("%Y-%m-%d %H:%M UTC") if run.ended else ""
    overrides = [word for override in plan.overrides for word in ("--set", override)]
    command = shlex.join(["growc", "run", plan.spec_path, *overrides, "--run-dir", str(run.path)])
    return Chapter(
        run, verdict(run), ended, tiles(run), growth_rows(run), invariant_rows(run), command,
        yaml.safe_dump(plan.values, sort_keys=False, allow_unicode=True, width=100),
        next(styles[run.label, trail.label].variable for trail in run.trails),
    )  # fmt: skip

"""A picture per section: how far every arm ends from the source that never grows, ours and the paper's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.expert_upcycling.lines import CONTROLS, Line
from benchmarks.expert_upcycling.prediction import Grown, deviations, ranks
from benchmarks.expert_upcycling.sections import Section
from growc.report.numbers import MINUS, change

INK, MUTED, GRID = "#1b1f24", "#59616b", "#e3e4e1"
OURS, PAPER, TARGET = "#0072b2", "#d55e00", "#00896a"
SERIES = ("#0072b2", "#d55e00", "#6a51a3", "#a67c00", "#8c564b", "#3a97cc", "#b0307f", "#6f7a1c")

_STYLE = {
    "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 11.0, "text.parse_math": False,
    "axes.titlesize": 11.0, "axes.titlelocation": "left", "axes.labelsize": 10.5, "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID, "axes.axisbelow": True, "axes.grid": True, "axes.spines.top": False,
    "axes.spines.right": False, "grid.color": GRID, "grid.linewidth": 0.8, "legend.frameon": False,
    "legend.fontsize": 10.0, "text.color": INK, "xtick.color": GRID, "ytick.color": GRID, "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK, "xtick.labelsize": 10.0, "ytick.labelsize": 10.0, "figure.facecolor": "white",
}  # fmt: skip

WIDTH = 860
"""Pixels; a point of the drawing is a pixel of the page."""

Estimate = tuple[float | None, float | None]
"""A mean with its error, either of which may not be known."""

FAR = 3.0
"""An arm further out than so many gaps, or medians of all arms, leaves the frame, and is written at its edge."""


def draw(section: Section, lines: Sequence[Line], path: Path) -> bool:
    """Draw a section; False, and nothing is written, where there is nothing to show."""
    if not any(line.vs_source is not None and line.arm not in CONTROLS for line in lines):
        return False
    if section.plot == "lines":
        width = WIDTH if any(line.paper and line.paper.vs_source is not None for line in lines) else 2 * WIDTH // 3
        _save(path, (width, 330), lambda figure: _curves(figure, section, lines))
        return True
    panels = [_Panel.of(lines, section, label) for label in _labels(lines, section.axis)]
    _save(path, (WIDTH, 60 + sum(panel.height for panel in panels)), lambda figure: _dots(figure, panels))
    return True


def _save(path: Path, size: tuple[int, int], paint: Callable[[Figure], None]) -> None:
    with matplotlib.style.context(["default", _STYLE | {"svg.hashsalt": path.stem}]):
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
        paint(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})


def _labels(lines: Sequence[Line], axis: str) -> list[str]:
    """What we ran along an axis."""
    return list(dict.fromkeys(line.point[axis] for line in lines if line.group and axis in line.point)) or [""]


@dataclass(frozen=True)
class _Panel:
    """The arms at one label of the section's axis: names, our figures and the paper's; targets are minus the gaps."""

    title: str
    names: tuple[str, ...]
    ours: tuple[Estimate, ...]
    target: float | None
    theirs: tuple[Estimate, ...]
    their_target: float | None

    @classmethod
    def of(cls, lines: Sequence[Line], section: Section, label: str) -> _Panel:
        here = [line for line in lines if line.group and line.point.get(section.axis, label) == label]
        grown = [line for line in here if line.arm not in CONTROLS and line.vs_source]
        papers = [line.paper for line in grown]
        return cls(
            title=f", {section.axis_title.format(label)}" if section.axis else "",
            names=tuple(_short(line, section.axis) for line in grown),
            ours=tuple((line.vs_source.mean, line.vs_source.error) for line in grown if line.vs_source),
            target=next((line.vs_source.mean for line in here if line.arm == "fixed_target" and line.vs_source), None),
            theirs=tuple((paper.vs_source, None) if paper else (None, None) for paper in papers),
            their_target=next((-paper.gap for paper in papers if paper and paper.gap is not None), None),
        )

    @property
    def height(self) -> int:
        """Pixels."""
        return 52 + 22 * len(self.names)


def _dots(figure: Figure, panels: Sequence[_Panel]) -> None:
    """One row per arm, panels below each other; the paper's figures beside ours."""
    with_paper = any(mean is not None for panel in panels for mean, _ in panel.theirs)
    grid = figure.subplots(
        len(panels), 2 if with_paper else 1, squeeze=False, sharex="col",
        height_ratios=[panel.height for panel in panels],
    )  # fmt: skip
    columns = [([panel.ours for panel in panels], [panel.target for panel in panels], OURS, "ours")]
    if with_paper:
        columns.append(
            ([panel.theirs for panel in panels], [panel.their_target for panel in panels], PAPER, "the paper's")
        )
    for column, (figures, targets, colour, whose) in enumerate(columns):
        known = [mean for each in figures for mean, _ in each if mean is not None]
        frame = _frame(known, [target for target in targets if target is not None])
        for panel, axes, means, target in zip(panels, grid[:, column], figures, targets, strict=True):
            _row(axes, () if column else panel.names, means, target, frame, colour)
            axes.set_title(whose + panel.title)
    figure.supxlabel(f"final loss {MINUS} fixed source, nats (left is better)", fontsize=10.5, color=MUTED)


def _short(line: Line, axis: str) -> str:
    words = [label for name, label in line.point.items() if name != axis]
    return ", ".join([*words, *([] if line.arm == "main" else [line.arm])]) or "grown"


def _row(
    axes: Axes,
    names: Sequence[str],
    figures: Sequence[Estimate],
    target: float | None,
    frame: tuple[float, float],
    colour: str,
) -> None:
    """Points with errors from the top down; `target` is where fixed_target stands."""
    low, high = frame
    for index, (mean, error) in enumerate(figures):
        if mean is None:
            continue
        inside = low <= mean <= high
        if inside:
            axes.errorbar(mean, -index, xerr=error, color=colour, marker="o", markersize=6, capsize=2.5, linewidth=1.3)
        else:
            axes.annotate(
                f"{change(mean)} \N{RIGHTWARDS ARROW}" if mean > high else f"\N{LEFTWARDS ARROW} {change(mean)}",
                (high if mean > high else low, -index), ha="right" if mean > high else "left", va="center",
                fontsize=9.5, color=colour, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
    axes.axvline(0, color=MUTED, linewidth=1.0)
    if target is not None:
        axes.axvline(target, color=TARGET, linewidth=1.4, linestyle=(0, (4, 2)))
        axes.annotate("fixed target", (target, 1), xycoords=("data", "axes fraction"), xytext=(3, -3),
                      textcoords="offset points", va="top", fontsize=9, color=TARGET)  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(-len(figures) + 0.4, 0.95)
    axes.set_yticks([-float(i) for i in range(len(names))], list(names))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _tick(x)))


def _frame(values: Sequence[float], targets: Sequence[float]) -> tuple[float, float]:
    """Limits around zero, the targets and the values, but for those that would make a speck of all the others."""
    scale = max(abs(number) for number in (*targets, float(np.median(np.abs(values)))))
    kept = [0.0, *targets, *(value for value in values if abs(value) <= FAR * scale)]
    low, high = min(kept), max(kept)
    margin = 0.12 * (high - low) or 0.001
    return low - margin, high + margin


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", MINUS)


def _curves(figure: Figure, section: Section, lines: Sequence[Line]) -> None:
    """One line per arm along the section's axis; the paper's beside."""
    axis = section.axis
    ours = [line for line in lines if line.vs_source is not None]
    theirs = [line for line in lines if line.paper and line.paper.vs_source is not None]
    panels = figure.subplots(1, 2 if theirs else 1, squeeze=False)[0]
    places = sorted({float(line.point[axis]) for line in [*ours, *theirs] if axis in line.point})
    names = list(dict.fromkeys(_short(line, axis) for line in [*ours, *theirs] if line.arm != "fixed_target"))
    colours = {name: SERIES[index % len(SERIES)] for index, name in enumerate(names)} | {"fixed target": TARGET}
    for line in ours:
        name = "fixed target" if line.arm == "fixed_target" else _short(line, axis)
        if axis not in line.point and line.vs_source:  # a control that all points share
            _curve(panels[0], [(x, line.vs_source.mean, None) for x in places], name, colours[name])
    for name in colours:
        chosen = [
            x
            for x in ours
            if axis in x.point and name == ("fixed target" if x.arm == "fixed_target" else _short(x, axis))
        ]
        points = [(float(x.point[axis]), x.vs_source.mean, x.vs_source.error) for x in chosen if x.vs_source]
        _curve(panels[0], points, name, colours[name])
        papers = [(float(x.point[axis]), x.paper) for x in theirs if x.paper and _short(x, axis) == name]
        _curve(panels[-1], [(x, paper.vs_source, None) for x, paper in papers if paper.vs_source], name, colours[name])
    if theirs:
        gaps = {float(x.point[axis]): -x.paper.gap for x in theirs if x.paper and x.paper.gap is not None}
        _curve(panels[1], [(x, gap, None) for x, gap in gaps.items()], "fixed target", TARGET)
    for axes, whose in zip(panels, ("ours", "the paper's"), strict=False):
        axes.set_title(whose)
        axes.axhline(0, color=MUTED, linewidth=1.0)
        axes.set_xlabel(section.axis_title)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _tick(y)))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set_xticks(places, [f"{place:g}" for place in places])
    panels[0].set_ylabel(f"final loss {MINUS} fixed source, nats")
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=6)


def _curve(axes: Axes, points: Sequence[tuple[float, float, float | None]], name: str, colour: str) -> None:
    if not points:
        return
    x, y, errors = zip(*sorted(points), strict=True)
    dashed = name == "fixed target"
    axes.errorbar(
        x, y, yerr=None if None in errors else errors, color=colour, marker="" if dashed else "o", markersize=5,
        capsize=2.5, linewidth=1.4, linestyle=(0, (4, 2)) if dashed else "solid", label=name,
    )  # fmt: skip


def draw_prediction(arms: Sequence[Grown], path: Path) -> None:
    """Ranks of every arm by its loss right after growth and by its final one, a colour for each section."""

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, 2)
        within = [arm for arm, _ in deviations(arms)]
        pairs = [(arms, [(arm.after, arm.final) for arm in arms]), (within, [pair for _, pair in deviations(arms)])]
        titles = ("all arms", "against arms of the same trunks and budget")
        for axes, (chosen, losses), title in zip(panels, pairs, titles, strict=True):
            _ranked(axes, chosen, losses)
            axes.set_title(title)
            axes.set_xlabel("rank by the loss right after growth")
        panels[0].set_ylabel("rank by the final loss")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=5)

    _save(path, (WIDTH, 420), paint)


def _ranked(axes: Axes, arms: Sequence[Grown], losses: Sequence[tuple[float, float]]) -> None:
    if not arms:
        return
    after, final = (ranks(np.array(column)) for column in zip(*losses, strict=True))
    for index, section in enumerate(dict.fromkeys(arm.section for arm in arms)):
        chosen = np.array([arm.section == section for arm in arms])
        axes.plot(
            after[chosen], final[chosen], linestyle="none", marker="os^D"[index // len(SERIES) % 4], markersize=5.5,
            color=SERIES[index % len(SERIES)], alpha=0.85, label=section,
        )  # fmt: skip

"""Where the arms of a sweep ended: a dot per seed, and the mean with its standard error over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from growc.report.history import Floats
from growc.report.numbers import loss, signed
from growc.report.palette import INK, MUTED, SURFACE, look_of
from growc.report.pictures.svg import NARROW, WIDE, Picture, is_narrow, picture
from growc.report.sweep import Group
from growc.run.summary.statistics import mean_and_error
from growc.spec.baselines import CONTROLS

ROW = 26
"""Pixels of a row; on a phone its name stands above it."""


def ends(groups: Sequence[Group], suffix: str = "") -> Picture | None:
    """Validation losses at the end, and their differences to the source alone of the same seed."""
    shown = [group for group in groups if len(group.losses)]
    if not shown:
        return None
    differences = [_differences(group) for group in shown]
    paired = any(len(each) for each in differences)

    def paint(figure: Figure) -> None:
        narrow = is_narrow(figure)
        columns = 2 if paired else 1
        panels = figure.subplots(*((columns, 1) if narrow else (1, columns)), squeeze=False).flatten()
        _panel(panels[0], shown, [group.losses for group in shown], named=True, above=narrow)
        panels[0].set_title("Validation loss at the end")
        panels[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: loss(value)))
        for group, values in zip(shown, [group.losses for group in shown], strict=True):
            if group.arm in CONTROLS:
                look = look_of(group.arm)
                panels[0].axvline(
                    float(values.mean()), color=look.colour, linestyle=look.dashes, linewidth=1.2, zorder=1
                )
        if paired:
            _panel(panels[1], shown, differences, named=narrow, above=narrow)
            panels[1].set_title("Against the source alone, seed by seed")
            panels[1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value) if value else "0"))
            source = look_of("fixed_source")
            panels[1].axvline(0, color=source.colour, linestyle=source.dashes, linewidth=1.2, zorder=1)
        for axes in panels:
            axes.xaxis.set_major_locator(MaxNLocator(3 if narrow else 4))
            axes.set_xlabel("nats per token")

    height = 74 + ROW * len(shown)
    return picture(
        f"ends{suffix}",
        "Where the arms ended",
        " ".join(_caption(shown, paired=paired)),
        paint,
        (WIDE, height),
        (NARROW, (74 + (ROW + 14) * len(shown)) * (2 if paired else 1)),
    )


def _caption(groups: Sequence[Group], *, paired: bool) -> Iterator[str]:
    if any(len(group.losses) > 1 for group in groups):
        yield "Small dots: one seed each. Large marks: their mean, with its standard error over seeds."
    if any(group.arm in CONTROLS for group in groups):
        yield "The lines are the controls."
    if paired:
        yield (
            "On the right, what an arm has in common with the source of its own seed (the trunk, the order of the "
            "data) falls out: left of the line is better."
        )


def _differences(group: Group) -> Floats:
    found = [arm.vs_source for arm in group.arms if arm.vs_source is not None]
    return np.array(found if len(found) == len(group.arms) else [], dtype=np.float64)


def _panel(axes: Axes, groups: Sequence[Group], values: Sequence[Floats], *, named: bool, above: bool) -> None:
    for row, (group, each) in enumerate(zip(groups, values, strict=True)):
        if len(each):
            _row(axes, -row, group, each)
        if named and above:
            axes.annotate(
                group.name, (0, -row + 0.42), xycoords=("axes fraction", "data"), va="center", fontsize=10.5,
            )  # fmt: skip
    axes.set_ylim(-len(groups) + 0.4, 0.8 if above else 0.6)
    axes.set_yticks([-row for row in range(len(groups))], [g.name for g in groups] if named and not above else [])
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=10.5)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _row(axes: Axes, at: float, group: Group, values: Floats) -> None:
    look = look_of(group.arm)
    mean, error = mean_and_error(values)
    middle = at
    if error is not None:
        middle = at + 0.08
        axes.plot(values, [at - 0.26] * len(values), linestyle="none", marker="o", markersize=4.5, color=look.colour,
                  markerfacecolor=SURFACE, markeredgewidth=1.1, zorder=3)  # fmt: skip
        axes.plot([mean - error, mean + error], [middle] * 2, color=INK, linewidth=1.6, zorder=4)
    axes.plot(mean, middle, linestyle="none", marker=look.marker, markersize=7.5, color=look.colour,
              markeredgecolor=SURFACE, markeredgewidth=0.8, zorder=5)  # fmt: skip
    axes.axhline(at, color=MUTED, linewidth=0.5, alpha=0.25, zorder=0)

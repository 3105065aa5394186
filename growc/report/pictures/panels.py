"""The courses of a sweep's arms, one panel for each that grows: the mean over its seeds, and their range."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from growc.report.history import Floats, Trail
from growc.report.loss_curves import Band, Course, Kind, band, course, difference, growth_at
from growc.report.numbers import change, loss, signed, tick
from growc.report.palette import INK, MUTED, Look, look_of
from growc.report.pictures.svg import NARROW, WIDE, Picture, is_narrow, picture
from growc.report.sweep import Group
from growc.spec.baselines import MAIN

PANELS = 3
"""Panels side by side."""

_ENOUGH = 4
"""Validations after the growth from which on they make a curve; with fewer, training losses do."""

_SETTLING = 0.1
"""The first part after the growth, whose losses may leave the frame: the shock of a growth dwarfs what follows."""


@dataclass(frozen=True)
class _Panel:
    """One group: its own band, and those of its controls; `starts` are the tokens of its growth."""

    group: Group
    mine: Band
    source: Band | None
    target: Band | None
    start: float


def panels(groups: Sequence[Group], suffix: str = "") -> Picture | None:
    """How far each arm is from the source alone of its own seed; without that control, its losses."""
    grown = [group for group in groups if group.grows]
    kind = _kind(groups)
    against = bool(grown) and all(source is not None for group in grown for source in group.sources)
    shown = [panel for group in grown if (panel := _panel(group, kind, against=against)) is not None]
    if not shown:
        return None
    columns = min(PANELS, len(shown))
    rows = -(-len(shown) // columns)
    what = f"{kind} loss" if kind == "validation" else "training loss, mean over some steps"

    def paint(figure: Figure) -> None:
        across = 1 if is_narrow(figure) else columns
        down = -(-len(shown) // across)
        axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flatten()
        low, high = _frame(shown, against=against)
        for at, (each, panel) in enumerate(zip(axes, shown, strict=False)):
            _paint(each, panel, [p.mine for p in shown], (low, high), against=against)
            each.set_title("\n".join(textwrap.wrap(panel.group.name, 40 if across > 1 else 56)[:2]), fontsize=10.5)
            each.tick_params(labelbottom=at + across >= len(shown))
            if at + across >= len(shown):
                each.set_xlabel("training tokens")
        for each in axes[len(shown) :]:
            each.set_visible(False)
        for each in axes[::across]:
            each.set_ylabel("nats per token")
        figure.legend(
            handles=_legend(shown, against=against), loc="outside upper left", ncols=1 if is_narrow(figure) else 4
        )

    return picture(
        f"{'against-source' if against else 'courses'}{suffix}",
        "Against the source alone, from the growth on" if against else "Loss from the growth on",
        (
            f"Each arm's {what} minus that of the source of its own seed at the same tokens: below zero, growing has "
            "paid off. Losses right after the growth may lie above the frame; they are written there."
            if against
            else f"The {what} of every arm."
        )
        + (" Line: mean over seeds; band: from the lowest to the highest seed." if _several(groups) else "")
        + (" Grey: the range of all arms." if len(shown) > 1 else ""),
        paint,
        (WIDE, 60 + 178 * rows),
        (NARROW, 120 + 150 * len(shown)),
    )


def courses(groups: Sequence[Group], suffix: str = "") -> Picture | None:
    """The losses of all arms in one frame, for the whole course: what they have in common."""
    kind = _kind(groups)
    shown = [(group, band([course(trail, kind) for trail in group.trails])) for group in groups]
    shown = [(group, each) for group, each in shown if len(each.tokens)]
    if not shown:
        return None
    end = max(float(each.tokens[-1]) for _, each in shown)
    arms = list(dict.fromkeys(group.arm for group, _ in shown))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for group, each in shown:
            look = look_of(group.arm)
            axes.fill_between(each.tokens, each.low, each.high, color=look.colour, alpha=0.12, linewidth=0)
            axes.plot(each.tokens, each.mean, color=look.colour, linestyle=look.dashes, linewidth=1.3,
                      alpha=0.75 if group.grows else 1, zorder=3 if group.grows else 4)  # fmt: skip
        values = np.concatenate([each.mean[each.tokens >= 0.05 * end] for _, each in shown])
        _limits(axes, values[np.isfinite(values)])
        axes.set_xlim(0, end * 1.01)
        axes.set_xlabel("training tokens")
        axes.set_ylabel("loss, nats per token")
        _tokens(axes, 6)
        many = sum(group.arm == MAIN for group, _ in shown) > 1
        handles = [_line(look_of(arm), _arm_name(arm, shown, many=many)) for arm in arms]
        figure.legend(handles=handles, loc="outside upper left", ncols=1 if is_narrow(figure) else 3)

    return picture(
        f"loss{suffix}",
        "Loss over training tokens",
        f"The {kind} loss of every arm{': mean over seeds, and their range' if _several(groups) else ''}. Arms that "
        "grow have one colour here; the next picture tells them apart.",
        paint,
        (WIDE, 300),
        (NARROW, 270 + 18 * len(arms)),
    )


def _several(groups: Sequence[Group]) -> bool:
    return any(len(group.trails) > 1 for group in groups)


def _arm_name(arm: str, shown: Sequence[tuple[Group, Band]], *, many: bool) -> str:
    names = [group.name for group, _ in shown if group.arm == arm]
    return f"{len(names)} arms that grow" if arm == MAIN and many else names[0].partition(" \N{MIDDLE DOT} ")[0]


def _kind(groups: Sequence[Group]) -> Kind:
    return "validation" if any(_often_validated(group) for group in groups if group.grows) else "training"


def _often_validated(group: Group) -> bool:
    starts = [growth_at(trail) or 0.0 for trail in group.trails]
    return all(
        sum(tokens > start + 1 for tokens in course(trail, "validation")) >= _ENOUGH
        for trail, start in zip(group.trails, starts, strict=True)
    )


def _panel(group: Group, kind: Kind, *, against: bool) -> _Panel | None:
    start = min((at for trail in group.trails if (at := growth_at(trail)) is not None), default=0.0)

    def since(trails: Sequence[Trail | None]) -> Band | None:
        known = [trail for trail in trails if trail is not None]
        if len(known) < len(group.trails):
            return None
        make: Callable[[Trail, Trail | None], Course] = lambda trail, source: (  # noqa: E731
            difference(trail, source, kind) if against and source is not None else course(trail, kind)
        )
        made = band([make(*pair) for pair in zip(known, group.sources, strict=True)])
        on = made.tokens > start
        return Band(made.tokens[on], made.mean[on], made.low[on], made.high[on]) if on.any() else None

    mine = since(group.trails)
    if mine is None:
        return None
    return _Panel(group, mine, None if against else since(group.sources), since(group.targets), start)


def _paint(axes: Axes, panel: _Panel, everyone: Sequence[Band], limits: tuple[float, float], *, against: bool) -> None:
    if len(everyone) > 1:
        tokens, low, high = _envelope(everyone)
        axes.fill_between(tokens, low, high, color=MUTED, alpha=0.16, linewidth=0, zorder=1)
    if against:
        source = look_of("fixed_source")
        axes.axhline(0, color=source.colour, linestyle=source.dashes, linewidth=1.3, zorder=2)
    for name, control in (("fixed_source", panel.source), ("fixed_target", panel.target)):
        if control is not None:
            look = look_of(name)
            axes.plot(control.tokens, control.mean, color=look.colour, linestyle=look.dashes, linewidth=1.3, zorder=3)
    look, mine = look_of(panel.group.arm), panel.mine
    axes.fill_between(mine.tokens, mine.low, mine.high, color=look.colour, alpha=0.22, linewidth=0, zorder=4)
    axes.plot(mine.tokens, mine.mean, color=look.colour, linewidth=1.8, zorder=5)
    axes.set_ylim(*limits)
    if mine.mean[0] > limits[1]:
        first = float(mine.mean[0])
        axes.annotate(
            f"{change(first) if against else loss(first)} at the growth", (1, 1), xycoords="axes fraction",
            xytext=(-3, -3), textcoords="offset points", ha="right", va="top", fontsize=10, color=INK,
        )  # fmt: skip
    _tokens(axes, 3)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if against:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value) if abs(value) > 1e-12 else "0"))


def _envelope(bands: Sequence[Band]) -> tuple[Floats, Floats, Floats]:
    """The range of the means, wherever any is known."""
    tokens = np.unique(np.concatenate([each.tokens for each in bands]))
    means = np.array([np.interp(tokens, b.tokens, b.mean, left=np.nan, right=np.nan) for b in bands])
    return tokens, np.nanmin(means, axis=0), np.nanmax(means, axis=0)


def _frame(shown: Sequence[_Panel], *, against: bool) -> tuple[float, float]:
    """Limits that fit what follows the first tokens after each growth."""
    values = [0.0] if against else list[float]()
    for panel in shown:
        settled = panel.start + _SETTLING * (float(panel.mine.tokens[-1]) - panel.start)
        for each in (panel.mine, panel.source, panel.target):
            if each is not None:
                on = each.tokens > settled
                values += [*each.low[on], *each.high[on]] if each is panel.mine else [*each.mean[on]]
    finite = [value for value in values if np.isfinite(value)] or [0.0]
    margin = 0.08 * (max(finite) - min(finite)) or 0.01
    return min(finite) - margin, max(finite) + 2 * margin


def _limits(axes: Axes, values: Floats) -> None:
    if len(values):
        margin = 0.07 * float(values.max() - values.min()) or 0.1
        axes.set_ylim(float(values.min()) - margin, float(values.max()) + margin)


def _tokens(axes: Axes, most: int) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))


def _line(look: Look, name: str) -> Line2D:
    return Line2D([], [], color=look.colour, linestyle=look.dashes, linewidth=1.8, label=name)


def _legend(shown: Sequence[_Panel], *, against: bool) -> list[Line2D | Patch]:
    own = look_of(MAIN) if any(panel.group.arm == MAIN for panel in shown) else look_of(shown[0].group.arm)
    handles: list[Line2D | Patch] = [_line(own, "this arm")]
    if against or any(panel.source is not None for panel in shown):
        handles.append(_line(look_of("fixed_source"), "source alone"))
    if any(panel.target is not None for panel in shown):
        handles.append(_line(look_of("fixed_target"), "from scratch"))
    if len(shown) > 1:
        handles.append(Patch(facecolor=MUTED, alpha=0.3, label="all arms"))
    return handles

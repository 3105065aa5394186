"""The losses of all arms over training tokens: the whole course, and what follows the first growth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from growc.growth.graph import State
from growc.records.trajectory import Segment
from growc.report.history import Floats, Run, Stage, mean
from growc.report.loss_curves import binned
from growc.report.numbers import loss, tick
from growc.report.palette import INK, MUTED, PREDICTED, SHARED, SURFACE, Look, looks, trail_name
from growc.report.pictures.svg import NARROW, WIDE, Picture, is_narrow, picture

_START_UP = 0.05
"""The first part of the tokens may leave the frame: losses fall from ln(vocabulary) there and say nothing."""


@dataclass(frozen=True)
class _Drawn:
    """One stage on the axes: its curve over cumulative tokens. `tail` says that its anneal leads nowhere."""

    tokens: Floats
    losses: Floats
    val_tokens: Floats
    val_losses: Floats
    look: Look
    shared: bool


@dataclass(frozen=True)
class _Growth:
    """A transition: where, what is predicted for plain duplication, and the losses on both sides."""

    name: str
    tokens: float
    before: float
    after: float
    predicted: float | None
    look: Look


def loss_curves(runs: tuple[Run, ...]) -> Picture:
    """All arms of all runs over the tokens that each has seen."""
    styles = looks(runs)
    drawn = [piece for run in runs for piece in _pieces(run, styles)]
    growths = [growth for run in runs for growth in _growths(run, styles)]
    legend = _legend(runs, styles, shared=any(piece.shared for piece in drawn), growths=growths)

    def paint(figure: Figure) -> None:
        if not growths:
            whole = figure.add_subplot()
        elif is_narrow(figure):
            whole, after = figure.subplots(2, 1)
            _after(after, drawn, growths)
        else:
            whole, after = figure.subplots(1, 2, width_ratios=(1, 1.15))
            _after(after, drawn, growths)
        _whole(whole, drawn, growths)
        columns = 1 if is_narrow(figure) else min(len(legend), 4 if len(runs) == 1 else 3)
        figure.legend(handles=legend, loc="outside upper left", ncols=columns)

    rows = -(-len(legend) // 3)
    return picture(
        "loss",
        "Loss over training tokens",
        "Marks: validation loss. Faint lines: training loss, averaged over a few steps. "
        "Tokens are counted along each arm's "
        "own path, so arms that share a stage share its curve.",
        paint,
        (WIDE, 340 + 18 * rows),
        (NARROW, (560 if growths else 300) + 18 * len(legend)),
    )


def _pieces(run: Run, styles: dict[tuple[str, str], Look]) -> Iterator[_Drawn]:
    """Every stage once; what several trails pass through counts as shared."""
    passed = [segment.stage.name for trail in run.trails for segment in trail.segments]
    known, seen = _known(run), set[str]()
    for trail in run.trails:
        for segment in trail.segments:
            name = segment.stage.name
            if name in seen or segment.stage.grows:
                continue
            seen.add(name)
            start = known.get(segment.stage.starts[0])
            yield _drawn(segment, start, styles[run.label, trail.label], shared=passed.count(name) > 1)


def _known(run: Run) -> dict[State, float]:
    """Validation losses of the states on both sides of every growth, by state."""
    known: dict[State, float] = {}
    for stage in run.grown():
        assert stage.grown
        known[stage.starts[0]] = mean(stage.grown.val_losses_before)
        known[State(stage.name)] = mean(stage.grown.val_losses)
    return known


def _drawn(segment: Segment[Stage], start: float | None, look: Look, *, shared: bool) -> _Drawn:
    curve = segment.stage.curve
    on, val_on = curve.tokens <= segment.tokens, curve.val_tokens <= segment.tokens
    tokens, losses = binned(curve.tokens[on], curve.loss[on])
    val_tokens, val_losses = curve.val_tokens[val_on], curve.val_loss[val_on]
    if start is not None:
        val_tokens, val_losses = np.insert(val_tokens, 0, 0.0), np.insert(val_losses, 0, start)
    return _Drawn(segment.offset + tokens, losses, segment.offset + val_tokens, val_losses, look, shared)


def _growths(run: Run, styles: dict[tuple[str, str], Look]) -> Iterator[_Growth]:
    seen = set[str]()
    for trail in run.trails:
        for segment in trail.segments:
            stage, result = segment.stage, segment.stage.grown
            if stage.name in seen or result is None:
                continue
            seen.add(stage.name)
            predicted = mean(result.predicted_val_losses) if result.predicted_val_losses else None
            yield _Growth(
                stage.name, segment.offset, mean(result.val_losses_before), mean(result.val_losses), predicted,
                styles[run.label, trail.label],
            )  # fmt: skip


def _whole(axes: Axes, drawn: list[_Drawn], growths: list[_Growth]) -> None:
    end = max((float(piece.tokens[-1]) for piece in drawn if len(piece.tokens)), default=1.0)
    axes.set_title("The whole course")
    axes.set_ylabel("loss, nats per token")
    _curves(axes, drawn, growths, named=True)
    _frame(axes, drawn, growths, from_tokens=_START_UP * end)
    axes.set_xlim(0, end * 1.02)


def _after(axes: Axes, drawn: list[_Drawn], growths: list[_Growth]) -> None:
    end = max((float(piece.tokens[-1]) for piece in drawn if len(piece.tokens)), default=1.0)
    first = min(growth.tokens for growth in growths)
    before = 0.12 * max(end - first, 0.02 * end)
    axes.set_title("From the growth on")
    _curves(axes, drawn, growths, named=False)
    _frame(axes, drawn, growths, from_tokens=first - before)
    axes.set_xlim(first - before, end + 0.03 * (end - first + before))
    width = axes.get_xlim()[1] - axes.get_xlim()[0]
    for growth in growths:
        if growth.predicted is not None:
            axes.annotate(
                f"plain duplication {loss(growth.predicted)}", (growth.tokens + 0.035 * width, growth.predicted),
                xytext=(4, 0), textcoords="offset points", va="center", fontsize=10, color=PREDICTED,
                bbox={"facecolor": SURFACE, "edgecolor": "none", "alpha": 0.8, "pad": 1}, zorder=7,
            )  # fmt: skip


def _curves(axes: Axes, drawn: list[_Drawn], growths: list[_Growth], *, named: bool) -> None:
    for piece in drawn:
        colour = SHARED if piece.shared else piece.look.colour
        dashes = "solid" if piece.shared else piece.look.dashes
        axes.plot(piece.tokens, piece.losses, color=colour, linestyle=dashes, linewidth=1.0, alpha=0.5)
        axes.plot(
            piece.val_tokens, piece.val_losses, color=colour, linestyle=dashes, linewidth=1.7, marker=piece.look.marker,
            markersize=6, markeredgecolor=SURFACE, markeredgewidth=0.8, zorder=4,
        )  # fmt: skip
    for growth in growths:
        axes.axvline(growth.tokens, color=MUTED, linewidth=1.0, zorder=1)
        if named:
            axes.annotate(
                growth.name, (growth.tokens, 1), xycoords=("data", "axes fraction"), xytext=(-4, -3),
                textcoords="offset points", ha="right", va="top", fontsize=10, color=MUTED,
            )  # fmt: skip
        axes.plot(
            [growth.tokens] * 2, [growth.before, growth.after], color=growth.look.colour, marker="o", markersize=6.5,
            markerfacecolor=SURFACE, markeredgewidth=1.6, linewidth=1.6, zorder=5,
        )  # fmt: skip
        if growth.predicted is not None:
            axes.plot(
                growth.tokens, growth.predicted, color=PREDICTED, marker="_", markersize=22, markeredgewidth=2.6,
                linestyle="none", zorder=6,
            )  # fmt: skip


def _frame(axes: Axes, drawn: list[_Drawn], growths: list[_Growth], *, from_tokens: float) -> None:
    """Fit the losses from `from_tokens` on."""
    values = [v for piece in drawn for v in piece.losses[piece.tokens >= from_tokens]]
    values += [v for piece in drawn for v in piece.val_losses[piece.val_tokens >= from_tokens]]
    values += [v for g in growths for v in (g.before, g.after, g.predicted) if v is not None]
    finite = [v for v in values if np.isfinite(v)]
    if finite:
        low, high = min(finite), max(finite)
        margin = 0.07 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + 1.4 * margin)
    axes.set_xlabel("training tokens")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _legend(
    runs: tuple[Run, ...], styles: dict[tuple[str, str], Look], *, shared: bool, growths: list[_Growth]
) -> list[Line2D]:
    handles = [Line2D([], [], color=SHARED, linewidth=1.8, label="shared by several arms")] if shared else []
    for run in runs:
        handles += [_handle(styles[run.label, trail.label], trail_name(run, trail, runs)) for trail in run.trails]
    if growths:
        handles.append(
            Line2D(
                [], [], color=INK, linestyle="none", marker="o", markersize=6.5, markerfacecolor=SURFACE,
                markeredgewidth=1.6, label="loss on both sides of the growth",
            )
        )  # fmt: skip
    if any(growth.predicted is not None for growth in growths):
        handles.append(
            Line2D(
                [], [], color=PREDICTED, linestyle="none", marker="_", markersize=16, markeredgewidth=2.6,
                label="predicted for plain duplication",
            )
        )  # fmt: skip
    return handles


def _handle(look: Look, name: str) -> Line2D:
    return Line2D(
        [], [], color=look.colour, linestyle=look.dashes, linewidth=1.8, marker=look.marker, markersize=6.5,
        markeredgecolor=SURFACE, label=name,
    )  # fmt: skip

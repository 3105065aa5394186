"""How evenly the experts are used at the end of every arm, and how far siblings have gone apart."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from growc.report.history import Floats, Run, Trail
from growc.report.numbers import plain
from growc.report.palette import MUTED, Look, looks, trail_name
from growc.report.pictures.svg import HALF, NARROW, WIDE, Picture, is_narrow, picture

MOST_POINTS = 48
"""Points of one sorted curve; sixty layers of hundreds of experts would weigh megabytes otherwise."""


def loads(trail: Trail) -> dict[int, Floats]:
    """The experts' loads relative to an even share, largest first, by layer, at the end of the trail."""
    assert trail.end.trained
    found: dict[int, Floats] = {}
    for layer, counts in sorted(trail.end.trained.load.items()):
        array = np.sort(np.array(counts, dtype=np.float64))[::-1]
        if array.sum() > 0:
            found[layer] = array / array.mean()
    return found


def measured(runs: tuple[Run, ...], what: str) -> list[tuple[Run, Trail]]:
    """The trails whose end has measured `what`."""
    return [
        (run, trail) for run in runs for trail in run.trails if trail.end.trained and getattr(trail.end.trained, what)
    ]


def load_curves(runs: tuple[Run, ...]) -> Picture | None:
    """Sorted loads: one line per layer, one panel per arm."""
    shown, styles = measured(runs, "load"), looks(runs)
    if not shown:
        return None
    columns = min(len(shown), 3)

    def paint(figure: Figure) -> None:
        across = 1 if is_narrow(figure) else columns
        panels = figure.subplots(-(-len(shown) // across), across, squeeze=False, sharey=True).flatten()
        for axes, (run, trail) in zip(panels, shown, strict=False):
            look, layers = styles[run.label, trail.label], loads(trail)
            for sizes in layers.values():
                axes.plot(*_thinned(sizes), color=look.colour, linewidth=1.2, alpha=max(0.3, min(0.9, 4 / len(layers))))
            axes.axhline(1, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)))
            axes.set_title(trail_name(run, trail, runs))
            _percent_axis(axes)
        _from_zero(*panels[: len(shown)])
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        for axes in panels[::across]:
            axes.set_ylabel("load / even share")
        for axes in panels[max(len(shown) - across, 0) : len(shown)]:
            axes.set_xlabel("experts, busiest first")

    rows = -(-len(shown) // columns)
    return picture(
        "load",
        "Expert load at the end",
        "Tokens that each expert gets over the validation windows, relative to an even share (dashed); one line per "
        "layer. Where a line touches zero, experts get nothing.",
        paint,
        (WIDE, 40 + 210 * rows),
        (NARROW, 40 + 190 * len(shown)),
    )


def _thinned(sizes: Floats) -> tuple[Floats, Floats]:
    """The sorted loads over the share of experts, at no more than `MOST_POINTS` experts."""
    at = np.unique(np.linspace(0, len(sizes) - 1, min(len(sizes), MOST_POINTS)).round().astype(int))
    return (at + 0.5) / len(sizes), sizes[at]


def _from_zero(*panels: Axes) -> None:
    """Show all from zero on, with room for the highest mark; the panels share their scale."""
    tops = [axes.dataLim.y1 for axes in panels if np.isfinite(axes.dataLim.y1)]
    panels[0].set_ylim(0, 1.08 * max(tops, default=1) or 1)


def _percent_axis(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75], ["0 %", "25 %", "50 %", "75 %"])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def worst_load(runs: tuple[Run, ...]) -> Picture | None:
    """The busiest expert's load over the mean, by layer."""
    shown, styles = measured(runs, "load"), looks(runs)
    if not shown:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for run, trail in shown:
            worst = {layer: float(sizes[0]) for layer, sizes in loads(trail).items()}
            _by_layer(axes, worst, styles[run.label, trail.label], trail_name(run, trail, runs))
        _from_zero(axes)
        axes.axhline(1, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)))
        axes.set_ylabel("busiest expert / mean")
        _layers(axes, figure, legend=len(shown) > 1)

    return picture(
        "max-load",
        "Busiest expert of each layer",
        "1 is perfectly even (dashed). It bounds the wait for the slowest expert when experts are on several devices.",
        paint,
        (HALF, _height(len(shown))),
    )


def divergence(runs: tuple[Run, ...]) -> Picture | None:
    """1 - cosine between siblings, by layer, at the end of every grown arm."""
    shown, styles = measured(runs, "sibling_cosine"), looks(runs)
    if not shown:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for run, trail in shown:
            assert trail.end.trained
            apart = {layer: 1 - cosine for layer, cosine in sorted(trail.end.trained.sibling_cosine.items())}
            _by_layer(axes, apart, styles[run.label, trail.label], trail_name(run, trail, runs))
        _from_zero(axes)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
        axes.set_ylabel("1 \N{MINUS SIGN} cosine")
        _layers(axes, figure, legend=len(shown) > 1)

    return picture(
        "siblings",
        "How far siblings went apart",
        "Mean over the copies of all experts, against the first of their group. 0 is what growth leaves: copies that "
        "are still the same.",
        paint,
        (HALF, _height(len(shown))),
    )


def _height(shown: int) -> int:
    return 216 + 18 * -(-shown // 2) * (shown > 1)


def _by_layer(axes: Axes, values: dict[int, float], look: Look, name: str) -> None:
    axes.plot(
        list(values),
        list(values.values()),
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.2,
        marker=look.marker,
        markersize=5.5 if len(values) < 30 else 3.5,
        label=name,
    )


def _layers(axes: Axes, figure: Figure, *, legend: bool) -> None:
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if legend:
        figure.legend(loc="outside upper left", ncols=2)

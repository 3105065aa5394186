"""What growth did to the loss, against what plain duplication would do by the K_eff law."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from growc.report.history import Floats, Run, Stage, mean, standard_error
from growc.report.numbers import change, plain
from growc.report.palette import INK, MUTED, PREDICTED, SURFACE, Look, looks
from growc.report.pictures.svg import HALF, Picture, picture

_BAR, _PITCH = 0.34, 1.2


def transitions(runs: tuple[Run, ...]) -> Picture | None:
    """The change of the validation loss at every growth, measured and predicted for plain duplication."""
    styles = looks(runs)
    grown = [(run, stage, _look(run, stage, styles)) for run in runs for stage in run.grown()]
    if not grown:
        return None

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, (run, stage, look) in enumerate(grown):
            _row(axes, -_PITCH * row, stage, look, title=stage.name if len(runs) == 1 else f"{run.label}: {stage.name}")
        axes.axvline(0, color=MUTED, linewidth=1.0)
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-_PITCH * (len(grown) - 1) - 0.5, 0.72)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.02 * (high - low)), high + 0.42 * (high - low))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
        axes.set_xlabel("change of the validation loss, nats per token")

    return picture(
        "transition",
        "The loss at the growth",
        "Measured on the same validation windows before and after. The prediction runs the source under the K_eff "
        "law: all copies of an expert tie, so plain top-K spends its slots on copies. Bars end at the mean; the thin "
        "line is the standard error of the paired difference.",
        paint,
        (HALF, 112 + 100 * len(grown)),
    )


def k_eff(runs: tuple[Run, ...]) -> Picture | None:
    """How many different experts a token would meet after plain duplication, by layer."""
    styles = looks(runs)
    found = [
        (stage, _look(run, stage, styles)) for run in runs for stage in run.grown() if stage.grown and stage.grown.k_eff
    ]
    if not found:
        return None
    top = max((stage.planned.model.top_k or 0) for stage, _ in found)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for stage, look in found:
            assert stage.grown and stage.grown.k_eff
            values = sorted(stage.grown.k_eff.items())
            axes.plot(
                [layer for layer, _ in values],
                [value for _, value in values],
                color=PREDICTED if len(found) == 1 else look.colour,
                linestyle="none",
                marker="o",
                markersize=5.5,
            )
        if top:
            axes.axhline(top, color=INK, linewidth=1.2, linestyle=(0, (5, 2)))
            axes.annotate(
                f"top-{top}: what the source meets", (0.01, top), xycoords=("axes fraction", "data"), xytext=(0, 3),
                textcoords="offset points", fontsize=10, color=INK,
            )  # fmt: skip
            axes.set_ylim(0, top * 1.18)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("layer")
        axes.set_ylabel("different experts per token")

    return picture(
        "k-eff",
        "K_eff after plain duplication",
        "The mean number of different source experts among a token's top-K once every copy ties with its original. "
        "Exclusive routing keeps it at K.",
        paint,
        (HALF, 212),
    )


def _row(axes: Axes, at: float, stage: Stage, look: Look, title: str) -> None:
    assert stage.grown
    before = np.array(stage.grown.val_losses_before)
    axes.annotate(title, (0, at + 0.5), xytext=(3, 0), textcoords="offset points", va="center", fontsize=11)
    _bar(axes, at + 0.2, np.array(stage.grown.val_losses) - before, look.colour, "measured")
    if stage.grown.predicted_val_losses:
        _bar(axes, at - 0.2, np.array(stage.grown.predicted_val_losses) - before, PREDICTED, "plain, predicted")


def _bar(axes: Axes, at: float, changes: Floats, colour: str, name: str) -> None:
    middle, error = mean(changes), standard_error(changes)
    axes.barh(at, middle, height=_BAR, color=colour)
    axes.plot(middle, at, color=colour, marker="o", markersize=6, markeredgecolor=SURFACE, markeredgewidth=0.8)
    end = middle
    if np.isfinite(error):
        axes.plot([middle - error, middle + error], [at, at], color=INK, linewidth=1.2)
        end = middle + error
    axes.annotate(
        f"{change(middle)} {name}",
        (max(end, 0.0), at),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=10.5,
    )


def _look(run: Run, stage: Stage, styles: dict[tuple[str, str], Look]) -> Look:
    """The look of the last trail that passes through the stage."""
    trail = next(t for t in reversed(run.trails) if any(each.stage.name == stage.name for each in t.segments))
    return styles[run.label, trail.label]

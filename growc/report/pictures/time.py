"""Where the time went."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from growc.plan import sweep_grouping
from growc.report.history import Clock, Run, Stage
from growc.report.numbers import duration
from growc.report.palette import GROWING, REST, TRAINING
from growc.report.pictures.svg import NARROW, WIDE, Picture, is_narrow, picture
from growc.spec.stage_name import StageName


def where_time_went(runs: tuple[Run, ...]) -> Picture:
    """Seconds of every stage: training, growing, and the rest."""
    rows = [(name if len(runs) == 1 else f"{run.label}: {name}", clock) for run in runs for name, clock in _stages(run)]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        at = [-float(i) for i in range(len(rows))]
        left = [0.0] * len(rows)
        for name, colour, widths in (
            ("training", TRAINING, [clock.training for _, clock in rows]),
            ("growing", GROWING, [clock.growing for _, clock in rows]),
            ("loading, validating, saving", REST, [clock.rest for _, clock in rows]),
        ):
            axes.barh(at, widths, left=left, height=0.62, color=colour, label=name)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for y, (_, clock), end in zip(at, rows, left, strict=True):
            axes.annotate(
                duration(max(clock.total, clock.work)),
                (end, y),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=10.5,
            )
        axes.set_yticks(at, [name for name, _ in rows])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, max(left) * 1.16 or 1)
        axes.xaxis.set_major_locator(MaxNLocator(4 if is_narrow(figure) else 6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value) if value else "0"))
        figure.legend(loc="outside upper left", ncols=1 if is_narrow(figure) else 3)

    return picture(
        "time",
        "Where the time went",
        "Training is the time of the steps alone. A stage that several arms share was run, and is counted, once.",
        paint,
        (WIDE, 84 + 28 * len(rows)),
        (NARROW, 130 + 28 * len(rows)),
    )


def _stages(run: Run) -> list[tuple[str, Clock]]:
    """The stages with their times; in a sweep, those that differ by their point only are put together."""
    together: dict[str, list[Stage]] = {}
    for stage in run.stages:
        together.setdefault(StageName.read(stage.name).in_sweep, []).append(stage)
    return [(sweep_grouping.called([stage.name for stage in each]), _sum(each)) for each in together.values()]


def _sum(stages: list[Stage]) -> Clock:
    clocks = [stage.clock for stage in stages]
    return Clock(sum(c.training for c in clocks), sum(c.growing for c in clocks), sum(c.total for c in clocks))

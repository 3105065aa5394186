"""Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.expert_upcycling.lines import Figure, Line
from growc.report.numbers import MINUS, NONE, count, error, loss, percent, signed

WINDOWS = "\N{DAGGER}"
"""Marks an error that is over the validation windows of a single seed."""


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table without the columns in which nothing stands; all but the first are set to the right."""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] != NONE for row in rows)]
    ruler = ["---", *["---:"] * (len(kept) - 1)]
    picked = [[row[i] for i in kept] for row in (head, *rows)]
    return [_row(line) for line in (picked[0], ruler, *picked[1:])]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def difference(figure: Figure | None) -> str:
    """A difference of losses with its error."""
    return NONE if figure is None else signed(figure.mean) + _error(figure)


def value(figure: Figure | None) -> str:
    """A loss with its error."""
    return NONE if figure is None else loss(figure.mean, 4) + _error(figure)


def share(figure: Figure | None) -> str:
    """A share with its error."""
    if figure is None:
        return NONE
    return percent(figure.mean) if figure.error is None else f"{percent(figure.mean)} ± {100 * figure.error:.0f}"


def _error(figure: Figure) -> str:
    if figure.error is None:
        return ""
    return f" ± {error(figure.error)}{WINDOWS if figure.windows else ''}"


def arms(lines: Sequence[Line], axes: Sequence[str], reference: str) -> list[str]:
    """The table of a section: our arms, and what the paper has for them."""
    head = (
        " \N{MIDDLE DOT} ".join(axes) or "arm", "seeds", "growth", "final loss", f"{MINUS} fixed source",
        f"{MINUS} fixed target", f"{MINUS} {reference}", "gap closed", "passes source after", "time saved",
        f"paper: {MINUS} fixed source", "paper: gap closed",
    )  # fmt: skip
    return markdown(head, [_line(line) for line in lines])


def _line(line: Line) -> list[str]:
    group, paper = line.group, line.paper
    return [
        line.name + (f" ({paper.label})" if paper and paper.label else ""),
        str(group.n) if group else "not run",
        difference(line.jump),
        value(line.val_loss),
        difference(line.vs_source),
        difference(line.vs_target),
        difference(line.vs_reference),
        share(line.closed),
        passing(line),
        percent(group.saving, signed=True) if group else NONE,
        printed(paper.vs_source) if paper else NONE,
        percent(paper.closed) if paper else NONE,
    ]


def printed(difference: float | None) -> str:
    """A difference of the paper's losses, to the digits that it prints."""
    return NONE if difference is None else f"{difference:+.3f}".replace("-", MINUS)


def passing(line: Line) -> str:
    """Tokens until the source is passed, and in how many of the seeds it was."""
    tokens, seeds = line.passing
    if tokens is None:
        return "never" if line.group and line.group.vs_source is not None and line.jump else NONE
    return f"{count(tokens)} tokens" + (f" ({seeds} of {len(line.members)})" if seeds < len(line.members) else "")

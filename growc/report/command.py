"""`growc report`: one HTML file on one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from growc.diagnostics import fail
from growc.files.atomic import write_text
from growc.report.html import render
from growc.report.read import read_runs

NAME = "report.html"


def report(run_dirs: Sequence[Path], out: Path | None) -> Path:
    """Write the report on `run_dirs`, finished or not, and return where it lies.

    Args:
        run_dirs: run folders, at least one; all go into the same report.
        out: the file to write; `report.html` in the first run folder if None.

    Raises:
        GrowcError: a folder is no run, nothing of it is finished, a file of it is damaged, or the report cannot be
            written (GROW630 to GROW633).
    """
    assert run_dirs
    text = render(read_runs(run_dirs))
    path = out or run_dirs[0] / NAME
    try:
        write_text(path, text)
    except OSError as error:
        fail("GROW633", f"cannot write {path}: {error.strerror}", help="give another file with --out")
    return path

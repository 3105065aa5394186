"""Paths as a spec gives them."""

from __future__ import annotations

from pathlib import Path

from growc.diagnostics import fail


def located(base_dir: Path, given: str) -> Path:
    """The path that a spec in `base_dir` means; a leading `~` is a user's home.

    Errors: GROW205 (no such user).
    """
    try:
        return base_dir / Path(given).expanduser()
    except RuntimeError:
        fail("GROW205", f"{given} begins with the home of a user that is not known", help="write the path out")

"""What came of one changed input."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

from growc.diagnostics import GrowcError

Target = Callable[[Path, Random], str]
"""Changes an input in an empty folder and has it read: gives a word for what came of it, or raises."""


class Wrong(Exception):
    """The input was taken for good, and what came of it is not what an independent reader finds."""


def answer(act: Callable[[], object]) -> str | None:
    """The code of the diagnostic that `act` ends with; None if it ends well. Every diagnostic must say something."""
    try:
        act()
    except GrowcError as error:
        if not all(d.message and d.help for d in error.diagnostics):
            raise Wrong(f"a diagnostic without words: {error}") from error
        str(error).encode()
        return error.diagnostics[0].code
    return None


def place(error: BaseException) -> str:
    """The kind of an exception and the last line of growc that it passed, by which findings are counted."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/growc/" in frame.filename]
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"

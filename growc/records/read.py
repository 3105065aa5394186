"""Records read whole and checked, or refused with their place in the file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

from growc.diagnostics import Span, fail

Read = TypeVar("Read")


def read_record(path: Path, kind: type[Read]) -> Read:
    """Read a JSON file that holds a record of this kind. What other versions wrote beside it does not count.

    Raises:
        GrowcError: it cannot be read, or is not what it should be (GROW632).
    """
    return _checked(path, _text(path), kind, 1)


def read_lines(path: Path, kind: type[Read]) -> list[Read]:
    """Read a file of JSON lines; a last line cut short by a crash does not count, nor does a missing file.

    Raises:
        GrowcError: it cannot be read, or a line is not what it should be (GROW632).
    """
    if not path.exists():
        return []
    lines = _text(path).splitlines(keepends=True)
    whole = lines if not lines or lines[-1].endswith("\n") else lines[:-1]
    return [_checked(path, line, kind, number) for number, line in enumerate(whole, 1)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail("GROW632", f"cannot read {path}: {error}", help="the run may still be writing, or the file is damaged")


@cache
def _adapter(kind: type[Read]) -> TypeAdapter[Read]:
    return TypeAdapter(kind)


def _checked(path: Path, text: str, kind: type[Read], line: int) -> Read:
    try:
        values: Any = json.loads(text)  # JSON of the standard library knows NaN, which a diverged run writes
    except json.JSONDecodeError as error:
        _damaged(path, f"not JSON: {error.msg}", line + error.lineno - 1, error.colno)
    return validated(path, values, kind, line)


def validated(path: Path, values: Any, kind: type[Read], line: int = 1) -> Read:
    """A record of what a line of a file holds.

    Raises:
        GrowcError: it is not what it should be (GROW632).
    """
    try:
        return _adapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        _damaged(path, f"{place}: {first['msg']}" if place else first["msg"], line, 1)


def _damaged(path: Path, what: str, line: int, column: int) -> NoReturn:
    fail(
        "GROW632",
        f"{path.name} is damaged: {what}",
        help="run the same command again to write it anew, or delete the stage's folder and resume",
        span=Span(str(path), line, column),
    )

"""The run's journal: append-only events, one JSON object a line, written by rank 0."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from growc.diagnostics import fail


def record(path: Path, event: str, **details: Any) -> None:
    """Append one event and flush it to the disk."""
    line = json.dumps({"time": time.time(), "event": event, **details})
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if _cut_short(path) else "") + line + "\n")
        file.flush()
        os.fsync(file.fileno())


def _cut_short(path: Path) -> bool:
    """Whether a crash left a last line without its end."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        if file.tell() == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def events(path: Path, event: str | None = None) -> Iterator[dict[str, Any]]:
    """All events, or those of one kind. A line cut short by a crash is not an event."""
    for entry in rows(path):
        if event is None or entry["event"] == event:
            yield entry


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows of metrics."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def rows(path: Path) -> list[dict[str, Any]]:
    """All objects of a file of JSON lines, but those that a crash cut short."""
    if not path.exists():
        return []
    found: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if not line.endswith("}\n"):
            continue
        try:
            found.append(json.loads(line))
        except ValueError:
            fail("GROW618", f"{path}:{number} is not JSON", help="delete the line; growc never writes one like it")
    return found


def cut_rows(path: Path, step: int) -> None:
    """Drop the rows after `step`: a resumed stage writes them again."""
    kept = [row for row in rows(path) if row["step"] <= step]
    aside = path.with_name(path.name + ".partial")
    aside.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    aside.rename(path)

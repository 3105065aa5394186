"""Files of JSON lines that a run appends to, and reads again when it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from growc.diagnostics import fail


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

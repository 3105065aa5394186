"""`journal.jsonl`: what happened in a run and when, one event a line, written by rank 0."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from growc.growth.decision import Decision
from growc.records.lines import rows
from growc.records.read import validated
from growc.records.results import without_none

DECISION = "decision"


@dataclass(frozen=True)
class Event:
    """A line of the journal. `time` is in seconds since 1970; what a kind of event has nothing to say of is None.

    `run_started` has the fields from `ranks` to `code`, `data` the `content` of the data, `kernels_measured` the
    fastest kernel for `experts` and the `seconds` of each, `state_saved` the `step` and the `state` ("step" or
    "stable"), and `skipping` what it would leave out after the operator at `index`.
    """

    time: float
    event: str
    stage: str | None = None
    kind: Literal["train", "grow"] | None = None
    step: int | None = None
    state: str | None = None
    key: str | None = None
    index: int | None = None
    beta: dict[int, float] | None = None
    skipped: dict[int, float] | None = None
    experts: str | None = None
    seconds: dict[str, float] | None = None
    content: str | None = None
    ranks: int | None = None
    layout: str | None = None
    device: str | None = None
    micro_batches: dict[str, dict[str, int]] | None = None
    kernels: dict[str, Any] | None = None
    machine: dict[str, Any] | None = None
    code: str | None = None


def record(path: Path, event: Event) -> None:
    """Append one event and flush it to the disk."""
    _append(path, without_none(event))


def record_decision(path: Path, event: Event, decision: Decision) -> None:
    """Append what a growth decided; `event` has the key of its node, and the index of its operator there."""
    _append(path, without_none(event) | decision.record())


def events(path: Path, event: str) -> Iterator[Event]:
    """All events of one kind. A line cut short by a crash is not an event."""
    return (validated(path, row, Event) for row in rows(path) if row["event"] == event)


def decided(path: Path, key: str, index: int) -> Decision | None:
    """What the operator at `index` of the node with this key decided, if the journal says it."""
    told = (row for row in rows(path) if row["event"] == DECISION)
    return next((Decision.read(row) for row in told if (row["key"], row["index"]) == (key, index)), None)


def _append(path: Path, event: dict[str, Any]) -> None:
    line = json.dumps(event)
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

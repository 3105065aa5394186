"""`metrics.jsonl` of a train stage: a row for every step, and one for every validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from growc.records.lines import rows
from growc.records.read import validated
from growc.records.results import without_none


@dataclass(frozen=True)
class Row:
    """Either of training (all but `val_loss`) or of validation (`val_loss`). Losses are in nats per token.

    `step` counts from 1, `tokens` are those of the stage so far; `max_violation` is the largest excess of an expert's
    load over the mean, relative to it.
    """

    step: int
    tokens: int | None = None
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    max_violation: float | None = None
    val_loss: float | None = None


def append_rows(path: Path, added: Sequence[Row]) -> None:
    """Append rows to the metrics of a stage."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(without_none(row)) + "\n" for row in added)


def read_rows(path: Path) -> list[Row]:
    """All rows but those that a crash cut short; none of a file that is not there."""
    return [validated(path, row, Row) for row in rows(path)]


def cut_rows(path: Path, step: int) -> None:
    """Drop the rows after `step`: a resumed stage writes them again."""
    kept = [row for row in rows(path) if row["step"] <= step]
    aside = path.with_name(path.name + ".partial")
    aside.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    aside.rename(path)

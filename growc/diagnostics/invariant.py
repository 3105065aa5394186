"""An invariant of a spec at one stage, and which of its values are rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal

Status = Literal["held", "broken", "to_measure"]

ROUNDING: Mapping[str, tuple[float, ...]] = {"preservation": (1e-12, 1e-9), "loss": (1e-6,)}
"""What is told, by the name of an invariant, in place of lower values: they are rounding, in float64 of a twin and in
float32 of a run, and each processor and each number of threads rounds in its own way."""


@dataclass(frozen=True)
class Invariant:
    """One invariant at one stage.

    `value` and `limit` are in the invariant's own unit; `detail` is a line of text. `to_measure` is settled
    with weights: by `growc check --measure`, or by the run. A value among `ROUNDING` of its name is a bound that the
    value found keeps within.
    """

    name: str
    stage: str
    status: Status
    value: float | None
    limit: float | None
    detail: str = ""


def bound(name: str, value: float, limit: float | None = None) -> float | None:
    """The lowest bound within `limit` that the size of a value keeps; None where the value is more than rounding."""
    most = inf if limit is None else limit
    return next((bound for bound in ROUNDING.get(name, ()) if abs(value) <= bound <= most), None)

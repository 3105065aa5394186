"""What `growth.json` records of a step, held against what the reading finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from growc.audit.fault import refuse
from growc.audit.rows import InFolder
from growc.audit.step import Step

CLOSE = 1e-9
"""Relative difference of two sums of squares that were taken in another order, in float64."""
ROUNDED = 1e-2
"""The same where what is summed was itself computed by an earlier growth, and rounded to its dtype."""


def recorded_replicas(step: Step[Any], layer: int, wanted: list[int]) -> list[int]:
    """These replicas of a layer's experts, which the record must have (GROW665)."""
    told = step.record["replicas"].get(str(layer))
    if told != wanted:
        refuse(f"growth.json says that the experts of layer {layer} got {told} replicas, and they should get {wanted}")
    return wanted


def recorded_scores(step: Step[Any], layer: int, find: Callable[[], Sequence[float]]) -> list[float]:
    """The scores that the record has for a layer, which must be those found up to rounding (GROW665).

    Those of the record break ties: sums that are taken in another order may turn them.
    """
    told = step.record.get("scores", {}).get(str(layer), [])
    if step.settled:
        return list(told)
    wanted, close = find(), CLOSE if isinstance(step.source, InFolder) else ROUNDED
    if len(told) != len(wanted) or any(abs(a - b) > close * abs(b) for a, b in zip(told, wanted, strict=True)):
        refuse(f"growth.json says that the scores of layer {layer} are {_short(told)}, and they are {_short(wanted)}")
    return list(told)


def check_settings(step: Step[Any]) -> None:
    """Refuse a record of another operator, or of other settings (GROW665)."""
    settings = {"op": step.operator.op, **step.operator.model_dump(mode="json")}
    decided = ("replicas", "scores", "units", "means")
    for name, value in settings.items():
        if name not in decided and step.record.get(name) != value:
            refuse(f"growth.json says {name}: {step.record.get(name)}, and the spec {name}: {value}")


def _short(scores: Sequence[float]) -> str:
    return f"[{', '.join(f'{score:.6g}' for score in scores[:8])}{', ...' if len(scores) > 8 else ''}]"

"""`result.json` of a finished stage. Losses are per validation window, in nats per token."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from growc.growth.decision import Decision

Losses = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a train stage measured at its end.

    `load` counts the tokens of every expert over the validation windows, by layer; `sibling_cosine` is the mean cosine
    of copies with the first of their group.
    """

    val_losses: Losses
    load: dict[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])
    sibling_cosine: dict[int, float] = field(default_factory=dict[int, float])


@dataclass(frozen=True)
class DryRunResult:
    """What a release of siblings would do: the losses, and the share of colliding selections by layer."""

    val_losses: Losses
    collisions: dict[int, float]


@dataclass(frozen=True)
class SkippingResult:
    """What dynamic skipping would do to the pruned model: beta and the share of skipped calls by layer, the losses."""

    beta: dict[int, float]
    skipped: dict[int, float]
    val_losses: Losses


@dataclass(frozen=True, kw_only=True)
class GrowResult:
    """What a grow stage measured before and after it, how its operators were settled, and the seconds that it took.

    `operators` are decisions as they record themselves. `val_losses_of_others` are those of further models that are
    mixed, by state; `predicted_val_losses` and `k_eff` are of the source under the K_eff law.
    """

    val_losses_before: Losses
    operators: tuple[dict[str, Any], ...] = ()
    val_losses_of_others: dict[str, Losses] | None = None
    predicted_val_losses: Losses | None = None
    k_eff: dict[int, float] | None = None
    dry_run: DryRunResult | None = None
    skipping: SkippingResult | None = None
    val_losses: Losses
    seconds: float = 0.0

    @property
    def increase(self) -> float:
        """The change of the mean validation loss, in nats."""
        return float(np.mean(self.val_losses)) - float(np.mean(self.val_losses_before))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What each operator decided."""
        return tuple(map(Decision.read, self.operators))


Result = TrainResult | GrowResult


def without_none(record: Any) -> dict[str, Any]:
    """A record as JSON takes it; fields that are None are left out."""
    assert is_dataclass(record)
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    found = {name: value for name, value in values.items() if value is not None}
    return {name: without_none(value) if is_dataclass(value) else value for name, value in found.items()}

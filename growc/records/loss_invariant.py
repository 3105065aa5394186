"""Whether a growth kept what was learnt, for all who ask: the check before a run, the run, its summary, the report."""

from __future__ import annotations

from typing import Literal


def loss_status(increase: float, limit: float | None) -> Literal["held", "broken"]:
    """Whether the rise of the validation loss at a growth is within its limit; both are in nats.

    Without a limit everything is, and with one NaN is not.
    """
    return "held" if limit is None or increase <= limit else "broken"

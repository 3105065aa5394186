"""A limit on the loss holds up to itself, and for nothing that is no number."""

from __future__ import annotations

import math

import pytest

from growc.records.loss_invariant import loss_status


@pytest.mark.parametrize(
    ("increase", "limit", "status"),
    [
        (-1.0, 0.0, "held"),
        (0.1, 0.1, "held"),
        (0.2, 0.1, "broken"),
        (math.nan, 0.1, "broken"),
        (math.nan, None, "held"),
    ],
)
def test_a_growth_keeps_the_loss_within_its_limit(increase: float, limit: float | None, status: str) -> None:
    assert loss_status(increase, limit) == status

"""Numbers with sensible digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (16, "16"),
        (83_728, "83.7 k"),
        (999_600, "1.00 M"),
        (30.53e9, "30.5 B"),
        (1.2e12, "1.20 T"),
        (None, "\N{EN DASH}"),
    ],
)
def test_counts(value: float | None, text: str) -> None:
    assert numbers.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.3e-6, "+1.3e-06"),
        (-8e-5, "\N{MINUS SIGN}8.0e-05"),
        (-8e-10, "below 1e-06"),
        (0.31391, "+0.3139"),
        (0.0, "below 1e-06"),
        (float("nan"), "+nan"),
        (None, "\N{EN DASH}"),
    ],
)
def test_changes(value: float | None, text: str) -> None:
    assert numbers.change(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.034, "0.034 s"), (6, "6 s"), (59.4, "59 s"), (61, "1 min 01 s"), (11_220, "3 h 07 min"), (190_000, "2 d 04 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.46, "46 %"), (-0.02, "\N{MINUS SIGN}2.0 %"), (0.0014, "0.14 %"), (0.0, "0.00 %")]
)
def test_shares(value: float, text: str) -> None:
    assert numbers.percent(value) == text


@given(st.floats(min_value=1, max_value=9e14))
def test_a_count_says_the_number_to_half_a_percent(value: float) -> None:
    number, _, prefix = numbers.count(value).partition(" ")
    size = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[prefix]
    assert float(number) * size == pytest.approx(value, rel=0.0051)

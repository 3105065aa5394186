"""When numbers count as the same: moved ones bit by bit, computed ones up to half of a last place."""

from __future__ import annotations

import pytest
import torch

from growc.audit.value import ROUNDING, Value, computed, difference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_rounded_once_is_the_same_and_its_neighbours_are_not(dtype: torch.dtype) -> None:
    exact = torch.randn(4096, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted, right = Value(exact, "", torch.zeros_like(exact)), exact.to(dtype)
    assert difference(right, wanted) is None
    for towards in (torch.inf, -torch.inf):
        beside = torch.nextafter(right, torch.full_like(right, towards))
        for i in range(256):
            assert difference(beside[i : i + 1], Value(exact[i : i + 1], "", torch.zeros(1).double())) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_factor_of_one_percent_is_seen(dtype: torch.dtype) -> None:
    exact = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert difference(exact.to(dtype), computed(exact, "", exact)) is None
    assert difference((1.01 * exact).to(dtype), computed(exact, "", exact)) is not None


def test_computed_numbers_may_be_off_by_what_float32_is() -> None:
    exact = torch.tensor([1.0, 1e-9], dtype=torch.float64)
    terms = torch.tensor([4.0], dtype=torch.float64)
    assert difference((exact + 3.9 * ROUNDING).float(), computed(exact, "", terms)) is None
    assert difference((exact + 4.5 * ROUNDING).float(), computed(exact, "", terms)) == 0


def test_moved_numbers_are_the_same_bit_by_bit() -> None:
    moved = Value(torch.tensor([0.0, float("nan"), 1.0]), "")
    assert difference(moved.tensor.clone(), moved) is None
    assert difference(torch.tensor([-0.0, float("nan"), 1.0]), moved) == 0
    assert difference(torch.tensor([0.0, float("nan"), 1.0000001]), moved) == 2


def test_what_a_later_growth_reads_is_rounded_and_open_only_beside_a_midpoint() -> None:
    # The next number of bfloat16 after 1 is 1 + 2^-7: 1 + 2^-9 is nearer to 1, and 1 + 2^-8 as near to both.
    exact = torch.tensor([1.0, 1.0 + 2.0**-9, 1.0 + 2.0**-8], dtype=torch.float64)
    read = Value(exact, "", torch.full_like(exact, 1e-6)).stored(torch.bfloat16)
    assert read.slack is not None
    assert read.slack.tolist() == [0.0, 0.0, 2.0**-7]
    assert Value(exact[:2], "", torch.full((2,), 1e-6).double()).stored(torch.bfloat16).slack is None
    assert Value(exact[:1] * 0, "", exact[:1] * 0).stored(torch.bfloat16).slack is not None

"""Fresh values: the same bits in any company, and as random as they say."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from growc.numerics.evaluate import InMemory, evaluate
from growc.numerics.random import BLOCK, GROUP, Stream, normal, uniform
from growc.programs import Init

COUNT = 2**20
SEEDS = ("0/a", "0/b", "1/a")
DEVIATIONS = 5
"""How far a statistic may lie from its expectation, in its standard deviations; the values are the same every time."""

Values = Callable[[str, int, int], Tensor]
both = pytest.mark.parametrize("values", [normal, uniform])


@cache
def whole(values: Values, seed: str = SEEDS[0]) -> Tensor:
    return values(seed, 0, COUNT)


@contextmanager
def threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@both
@settings(deadline=None, max_examples=60)
@given(data=st.data(), start=st.integers(0, COUNT - 1), workers=st.integers(1, 4))
def test_any_part_has_the_bits_of_the_whole(values: Values, data: st.DataObject, start: int, workers: int) -> None:
    longest = COUNT - start
    count = data.draw(st.one_of(st.integers(0, min(longest, 3 * GROUP)), st.integers(0, longest)))
    with threads(workers):
        assert torch.equal(values(SEEDS[0], start, count), whole(values)[start : start + count])


@both
def test_several_threads_give_the_same_bits(values: Values) -> None:
    assert COUNT > 4 * BLOCK * GROUP, "or there is no work for several"
    with threads(1):
        alone = values(SEEDS[1], 5, COUNT)
    with threads(3):
        assert torch.equal(values(SEEDS[1], 5, COUNT), alone)


@both
def test_the_counter_may_be_large(values: Values) -> None:
    start = 10**15 + 7
    assert torch.equal(values("far", start, 3000)[1000:1010], values("far", start + 1000, 10))
    assert not torch.equal(values("far", start, 10), values("far", 7, 10))


@both
def test_the_bits_are_the_same_on_every_machine_and_in_every_version(values: Values) -> None:
    found = hashlib.sha256(values("golden", 123, 100_000).numpy().astype("<f4").tobytes()).hexdigest()
    assert found[:16] == {"normal": "b1e34043940472ac", "uniform": "e782896ee3183021"}[values.__name__]


def test_normal_values_are_those_of_box_and_muller() -> None:
    key = int.from_bytes(hashlib.sha256(b"definition").digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw(COUNT // 2).view("<u4").astype(np.int64).reshape(-1, 2, GROUP // 2)
    radius = np.sqrt(-2 * np.log((words[:, 0] + 0.5) / 2**32))
    turn = np.where(words[:, 1] < 2**31, words[:, 1], words[:, 1] - 2**32) / 2**31
    cosine = np.cos(math.pi / 2 * turn) * np.where(words[:, 1] % 2, -1, 1)
    expected = np.stack([radius * cosine, radius * np.sin(math.pi / 2 * turn)], axis=1)
    error = np.abs(normal("definition", 0, COUNT).numpy().reshape(expected.shape) - expected)
    assert (error < 2e-6 + 1e-7 / radius[:, None]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_normal_values_have_the_moments_of_the_normal_distribution(seed: str) -> None:
    x = whole(normal, seed).double()
    for power, expected in enumerate((0, 1, 0, 3, 0, 15), start=1):
        spread = math.prod(range(1, 2 * power, 2)) - expected**2
        assert abs(float((x**power).mean()) - expected) < DEVIATIONS * (spread / COUNT) ** 0.5, power


@pytest.mark.parametrize("seed", SEEDS)
def test_normal_values_have_the_tails_of_the_normal_distribution(seed: str) -> None:
    x = whole(normal, seed).double()
    assert float(x.abs().max()) < 6.8
    for bound in (-4.5, -4, -3, -2, -1, -0.1, 0, 0.01, 0.5, 1.5, 2.5, 3.5, 4.5):
        share = float(torch.special.ndtr(torch.tensor(bound, dtype=torch.float64)))
        found = float((x < bound).double().mean())
        assert abs(found - share) < DEVIATIONS * (share * (1 - share) / COUNT) ** 0.5, bound


@both
@pytest.mark.parametrize("seed", SEEDS)
def test_every_part_of_the_range_is_as_likely_as_it_should_be(values: Values, seed: str) -> None:
    x = whole(values, seed).double()
    levels = torch.special.ndtr(x) if values is normal else (x + 1) / 2
    bins = 4096
    counts = torch.histc(levels, bins, 0, 1)
    square = float((counts - COUNT / bins).square().sum() / (COUNT / bins))
    assert abs(square - (bins - 1)) < DEVIATIONS * (2 * bins) ** 0.5


@both
def test_neighbours_rows_and_seeds_are_not_correlated(values: Values) -> None:
    x = whole(values).double()
    others = {f"{lag} on": x.roll(-lag) for lag in (1, 2, 8, GROUP // 2, GROUP, 4096, BLOCK * GROUP)}
    others |= {seed: whole(values, seed).double() for seed in SEEDS[1:]}
    for name, other in others.items():
        for a, b in ((x, other), (x.abs(), other.abs()), (x, other.square()), (x.square(), other.square())):
            correlation = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
            assert abs(correlation) < DEVIATIONS / COUNT**0.5, name


def test_uniform_values_lie_inside_on_both_sides_and_none_is_zero() -> None:
    x = whole(uniform).double()
    assert float(x.abs().max()) < 1
    assert float(x.abs().min()) >= 2.0**-24
    assert float(x.max()) > 1 - 1e-4
    assert float(x.min()) < -1 + 1e-4
    assert abs(float(x.mean())) < DEVIATIONS * (1 / 3 / COUNT) ** 0.5
    assert abs(float(x.square().mean()) - 1 / 3) < DEVIATIONS * (4 / 45 / COUNT) ** 0.5


def rows_of(init: Init, rows: list[int], dtype: torch.dtype = torch.float64) -> Tensor:
    return evaluate(init, torch.tensor(rows, dtype=torch.long), InMemory({}), dtype)


@given(
    rows=st.lists(st.integers(0, 11), max_size=14),
    shape=st.sampled_from([(12,), (12, 1), (12, 700), (12, 3, 1000)]),
    distribution=st.sampled_from(["normal", "uniform", "constant", "zeros"]),
)
@settings(deadline=None)
def test_rows_have_the_bits_of_the_whole_tensor_in_any_order(
    rows: list[int], shape: tuple[int, ...], distribution: Literal["normal", "uniform", "constant", "zeros"]
) -> None:
    init = Init(shape, distribution, 0.3, "rows")
    everything = rows_of(init, list(range(12)))
    assert everything.shape == shape
    assert torch.equal(rows_of(init, rows), everything[rows])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_every_dtype_rounds_the_same_numbers(distribution: Literal["normal", "uniform"], dtype: torch.dtype) -> None:
    init = Init((3, 5000), distribution, 0.02, "dtypes")
    assert torch.equal(rows_of(init, [2, 0], dtype), rows_of(init, [2, 0]).to(dtype))


@given(scale=st.floats(1e-6, 1e6))
@settings(deadline=None, max_examples=30)
def test_uniform_values_lie_within_their_scale(scale: float) -> None:
    assert float(rows_of(Init((1, 20_000), "uniform", scale, "scale"), [0]).abs().max()) < scale


def test_a_stream_draws_one_value_after_the_other() -> None:
    stream = Stream("seed", 3)
    first, second, order = stream.normal(40, 50), stream.normal(7), stream.permutation(9)
    again = Stream("seed", 3)
    assert torch.equal(again.normal(40, 50), first)
    assert torch.equal(again.normal(7), second)
    assert torch.equal(again.permutation(9), order)
    assert not torch.equal(first.flatten()[:7], second)
    assert not torch.equal(Stream("seed", 4).normal(40, 50), first)
    assert not torch.equal(Stream("seeds", 3).normal(40, 50), first)
    with pytest.raises(AssertionError, match="without a seed"):
        Stream("", 0).normal(2)


def test_every_order_of_a_permutation_is_as_likely() -> None:
    draws, size = 6000, 4
    counts = torch.zeros(size**size)
    for draw in range(draws):
        order = Stream("orders", draw).permutation(size)
        assert order.sort().values.tolist() == list(range(size))
        counts[int((order * size ** torch.arange(size)).sum())] += 1
    found = counts[counts > 0]
    assert len(found) == math.factorial(size)
    expected = draws / len(found)
    assert float((found - expected).square().sum() / expected) < len(found) - 1 + DEVIATIONS * (2 * len(found)) ** 0.5

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.data import Tokens
from growc.diagnostics import GrowcError


def numbered(*lengths: int) -> Tokens:
    """Arrays in which every token has a value of its own."""
    ends = np.cumsum(lengths)
    arrays = [np.arange(end - length, end, dtype=np.uint32) for end, length in zip(ends, lengths, strict=True)]
    return Tokens("the part 'a'", arrays)


lengths = st.lists(st.integers(0, 60), min_size=1, max_size=5)


@given(lengths=lengths, length=st.integers(1, 9), seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_an_epoch_is_every_window_once(lengths: list[int], length: int, seed: int, epoch: int) -> None:
    tokens = numbered(*lengths)
    count = tokens.count(length)
    starts = [int(tokens.batch(seed, epoch * count + i, 1, length)[0, 0]) for i in range(count)]
    ends = np.cumsum(lengths).tolist()
    expected = [
        start for size, end in zip(lengths, ends, strict=True) for start in range(end - size, end - length, length)
    ]
    assert sorted(starts) == expected


@given(
    lengths=lengths,
    length=st.integers(1, 9),
    ranks=st.integers(1, 4),
    share=st.integers(1, 4),
    step=st.integers(0, 50),
)
def test_ranks_share_one_batch(lengths: list[int], length: int, ranks: int, share: int, step: int) -> None:
    tokens = numbered(*lengths)
    sequences = ranks * share
    if tokens.count(length) < sequences:
        with pytest.raises(GrowcError, match="GROW511"):
            tokens.batch(0, step, sequences, length)
        return
    alone = tokens.batch(0, step, sequences, length)
    shared = [tokens.batch(0, step, sequences, length, rank, ranks) for rank in range(ranks)]
    assert alone.shape == (sequences, length + 1)
    assert alone.dtype == np.int64
    assert np.array_equal(np.concatenate(shared), alone)


def test_a_row_is_consecutive_and_within_one_array() -> None:
    tokens = numbered(40, 25, 33)
    rows = np.concatenate([tokens.batch(3, step, 4, 5) for step in range(20)])
    assert (np.diff(rows, axis=1) == 1).all()
    assert not any(row[0] < edge <= row[-1] for row in rows for edge in (40, 65))


def test_a_batch_may_span_two_epochs() -> None:
    tokens = numbered(26)  # five windows of five
    rows = [tokens.batch(0, step, 2, 5)[:, 0].tolist() for step in range(5)]
    drawn = [start for row in rows for start in row]
    assert sorted(drawn[:5]) == sorted(drawn[5:]) == [0, 5, 10, 15, 20]


def test_ranks_must_divide_the_batch() -> None:
    with pytest.raises(GrowcError, match=r"GROW512.*6 sequences.*4 ranks"):
        numbered(1000).batch(0, 0, 6, 5, 0, 4)


@given(lengths=lengths, limit=st.integers(1, 70))
def test_validation_windows_are_fixed_and_spread(lengths: list[int], limit: int) -> None:
    tokens = numbered(*lengths)
    rows = tokens.windows(4, limit)
    assert rows.shape == (min(limit, tokens.count(4)), 5)
    assert np.array_equal(rows, tokens.windows(4, limit))
    assert all(before < after for before, after in pairwise(rows[:, 0].tolist()))


def test_validation_windows_reach_over_the_whole_part() -> None:
    starts = numbered(4001).windows(4, 10)[:, 0]
    assert starts.tolist() == list(range(0, 4000, 400))

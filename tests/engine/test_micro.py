"""How many sequences are computed at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.diagnostics import GrowcError
from growc.engine.micro import micro_batch
from growc.spec.training import AUTO_TOKENS, Training


def _training(sequences: int, length: int, **more: Any) -> Training:
    return Training.model_validate({"batch_tokens": sequences * length, **more})


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 20_000))
def test_auto_divides_the_share_and_is_as_large_as_it_may(share: int, ranks: int, length: int) -> None:
    found = micro_batch(_training(share * ranks, length), length, ranks)
    assert share % found == 0
    assert found == 1 or found * length <= AUTO_TOKENS
    assert not any(share % n == 0 and n * length <= AUTO_TOKENS for n in range(found + 1, share + 1))


@pytest.mark.parametrize("asked", [1, 2, 4, 8])
def test_what_is_asked_for_is_taken(asked: int) -> None:
    assert micro_batch(_training(16, 32, micro_batch=asked), 32, 2) == asked


@pytest.mark.parametrize(
    ("sequences", "ranks", "asked", "code"), [(9, 2, "auto", "GROW623"), (16, 2, 3, "GROW625"), (16, 2, 16, "GROW625")]
)
def test_what_does_not_divide_is_refused(sequences: int, ranks: int, asked: Any, code: str) -> None:
    with pytest.raises(GrowcError) as refused:
        micro_batch(_training(sequences, 32, micro_batch=asked), 32, ranks)
    assert [d.code for d in refused.value.diagnostics] == [code]

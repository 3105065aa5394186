"""The fuzzer runs, and finds nothing in the first inputs of a seed."""

from __future__ import annotations

import pytest

from tests.fuzz import readers
from tests.fuzz.__main__ import Found


@pytest.mark.parametrize("target", readers.TARGETS)
def test_readers(target: str) -> None:
    found = Found()
    for number in range(100):
        found.run(target, f"test/{number}")
    assert not found.findings, found.report()
    assert sum(found.outcomes.values()) == 100
    assert len(found.outcomes) > 1


@pytest.mark.slow
def test_growing() -> None:
    found = Found()
    for number in range(30):
        found.run("grow", f"test/{number}")
    assert not found.findings, found.report()
    assert len(found.outcomes) > 3


def test_the_same_seed_is_the_same_input() -> None:
    again = [Found(), Found()]
    for found in again:
        for number in range(20):
            found.run("header", f"same/{number}")
    assert again[0].outcomes == again[1].outcomes

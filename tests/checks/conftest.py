"""Checks are tested on code that the tests change: nothing that was found before may answer for them."""

from __future__ import annotations

import pytest

from growc.files.cache import OFF, VARIABLE


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, OFF)

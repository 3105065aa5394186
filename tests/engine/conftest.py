"""One rank for every test of the engine that needs no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.ranks import one_rank


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process group of one."""
    with one_rank(tmp_path_factory.mktemp("group")):
        yield

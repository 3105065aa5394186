"""What all tests share: no property fails by the clock, none touches the user's cache, and a guard watches them."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.guard", "tests.share", "pytester"]

settings.register_profile("growc", deadline=None)
settings.load_profile("growc")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch is imported later; workers and ranks have the cores to share

# One folder for the processes of a session: workers inherit it from the one that starts them.
_cache = None if "PYTEST_XDIST_WORKER" in os.environ else tempfile.TemporaryDirectory(prefix="growc-cache-")
if _cache:
    os.environ["GROWC_CACHE"] = _cache.name


@pytest.fixture(scope="module")
def alone() -> Iterator[None]:
    """A process group of this process alone."""
    from growc.engine.distribute import alone

    with alone():
        yield


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: what a worker begins last, the other waits for. A slow case or a process weighs as twenty."""
    weights: Counter[Path] = Counter()
    for item in items:
        weights[item.path] += 20 if {"slow", "process"} & {mark.name for mark in item.iter_markers()} else 1
    items.sort(key=lambda item: -weights[item.path])


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    if _cache:
        _cache.cleanup()

"""What is left out where time is short: by marks, and drawn by names, so that it does not change from run to run.

- `pytest.mark.share(N)`: `make test` runs one in N of the cases of a file; CI runs all.
- `pytest.mark.nightly(N)`: CI runs one in N of the cases of a test; `make full` runs the others.

Every file, and every test, keeps one case at least.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as full, or as slow, what is left out."""
    for item in _left_out("nightly", (item for item in items if not _has(item, "full")), "["):
        item.add_marker(pytest.mark.full)
    for item in _left_out("share", (item for item in items if not _has(item, "full", "slow")), "::"):
        item.add_marker(pytest.mark.slow)


def _has(item: pytest.Item, *names: str) -> bool:
    return any(mark.name in names for mark in item.iter_markers())


def _left_out(mark: str, items: Iterable[pytest.Item], end: str) -> Iterator[pytest.Item]:
    """Of all marked items whose names are the same up to `end`, those that are not the first of their share."""
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker(mark):
            cases[item.nodeid.partition(end)[0]].append(item)
    for alike in cases.values():
        share = int(alike[0].get_closest_marker(mark).args[0])  # pyright: ignore[reportOptionalMemberAccess]
        alike.sort(key=lambda item: zlib.crc32(item.nodeid.encode()))
        yield from alike[-(-len(alike) // share) :]

"""`make test` runs a share of the cases of a file that has many: `pytest.mark.share(N)` leaves one in N; CI runs all.

Which ones stay is drawn by their names, so it does not change from run to run, and every file keeps one at least.
"""

from __future__ import annotations

import zlib
from collections import defaultdict

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what is left out."""
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("share") and not {"full", "slow"} & {mark.name for mark in item.iter_markers()}:
            cases[item.nodeid.partition("::")[0]].append(item)
    for of_file in cases.values():
        share = int(of_file[0].get_closest_marker("share").args[0])  # pyright: ignore[reportOptionalMemberAccess]
        of_file.sort(key=lambda item: zlib.crc32(item.nodeid.encode()))
        for item in of_file[-(-len(of_file) // share) :]:
            item.add_marker(pytest.mark.slow)

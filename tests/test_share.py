"""What CI and `make test` leave out, `make full` runs: no case is lost."""

from __future__ import annotations

import pytest

SUITE = """
import pytest

@pytest.mark.nightly(2)
@pytest.mark.parametrize("number", range(5))
def test_many(number):
    pass

@pytest.mark.nightly(3)
def test_one():
    pass

def test_always():
    pass
"""


def test_every_case_runs_in_ci_or_at_night(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    pytester.makeini("[pytest]\nmarkers =\n    nightly(n): n\n    share(n): n\n    full: full\n    slow: slow\n")
    seen: dict[str, list[str]] = {}
    for marks in ("not full", "full"):
        passed, _, _ = pytester.inline_run("-m", marks, "-p", "tests.share").listoutcomes()
        seen[marks] = sorted(report.nodeid.rpartition("::")[2] for report in passed)
    assert len(seen["not full"]) == 3 + 1 + 1
    assert len(seen["full"]) == 2
    assert not set(seen["full"]) & set(seen["not full"])
    assert {"test_one", "test_always"} <= set(seen["not full"]), "every test keeps a case"

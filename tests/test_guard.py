"""The guard: what it lets pass, and what it fails and how."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests import guard

STARTS = """
import multiprocessing, os, subprocess, sys
import pytest

def nothing():
    pass

def popen():
    subprocess.run(["true"], check=True)

def system():
    os.system("true")

def posix_spawn():
    os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)

def spawn():
    process = multiprocessing.get_context("spawn").Process(target=nothing)
    process.start()
    process.join()

def fork():
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)

@pytest.fixture(scope="module")
def started():
    popen()
"""


@pytest.mark.parametrize("start", ["popen", "system", "posix_spawn", "spawn"])
def test_a_process_without_the_mark_fails_where_it_is_started(pytester: pytest.Pytester, start: str) -> None:
    pytester.makepyfile(f"{STARTS}\ndef test_it():\n    try: {start}()\n    except Exception: pass")
    done = pytester.runpytest_inprocess("-p", "tests.guard")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*::test_it starts a process, *: do it in this one, or mark the case `process`*"])


@pytest.mark.process
@pytest.mark.parametrize("start", ["popen", "system", "posix_spawn", "spawn"])
def test_a_process_with_the_mark_is_started(pytester: pytest.Pytester, start: str) -> None:
    pytester.makepyfile(f"{STARTS}\n@pytest.mark.process\ndef test_it():\n    {start}()")
    pytester.runpytest_inprocess("-p", "tests.guard", "-W", "ignore::pytest.PytestUnknownMarkWarning").assert_outcomes(
        passed=1
    )


def test_a_fork_is_no_process(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"{STARTS}\ndef test_it():\n    fork()")
    pytester.runpytest_inprocess("-p", "tests.guard").assert_outcomes(passed=1)


def test_a_shared_fixture_needs_the_mark_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"{STARTS}\ndef test_it(started):\n    pass")
    pytester.runpytest_inprocess("-p", "tests.guard").assert_outcomes(errors=1)


COMPUTES = """
import os, time
import pytest

def compute(seconds=0.2):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

def in_a_child():
    if not (child := os.fork()):
        compute()
        os._exit(0)
    os.waitpid(child, 0)
"""
NESTED = """
@pytest.fixture(scope="session")
def everyones():
    compute()

@pytest.fixture(scope="module")
def ours(everyones):
    compute()

@pytest.fixture
def mine(ours):
    compute(0.05)

def test_it(mine):
    compute(0.05)
"""


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LIMIT", 0.15)
    monkeypatch.setattr(guard, "pace", lambda: 1.0)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.delenv(guard.PLAIN, raising=False)


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(
    "case",
    [
        "def test_it(): compute()",
        "@pytest.fixture\ndef mine(): compute()\ndef test_it(mine): pass",
        "@pytest.fixture\ndef mine():\n    yield\n    compute()\ndef test_it(mine): pass",
        "def test_it(): in_a_child()",
    ],
    ids=["the call", "set up", "torn down", "a child"],
)
def test_a_case_that_computes_for_longer_than_it_may_fails(pytester: pytest.Pytester, case: str) -> None:
    pytester.makepyfile(f"{COMPUTES}\n{case}")
    done = pytester.runpytest_inprocess("-p", "tests.guard")
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*::test_it took 0.* s of processors, and may take 0.15*"])


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(
    "case",
    [
        "def test_it(): time.sleep(0.3)",
        "@pytest.fixture(scope='module')\ndef ours(): compute()\ndef test_it(ours): pass",
        NESTED,
    ],
    ids=["waits", "shared", "shared by what is shared"],
)
def test_neither_waiting_nor_what_is_shared_counts(pytester: pytest.Pytester, case: str) -> None:
    pytester.makepyfile(f"{COMPUTES}\n{case}")
    pytester.runpytest_inprocess("-p", "tests.guard").assert_outcomes(passed=1)


def test_a_child_that_still_runs_counts() -> None:
    def by_others() -> float:
        return guard.spent() - sum(os.times()[:2])

    before = by_others()
    if not (child := os.fork()):
        while True:
            pass
    try:
        for _ in range(6000):
            time.sleep(0.01)
            if by_others() - before > 0.15:
                return
        pytest.fail("what the child computes is not seen")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.usefixtures("limited")
def test_a_slow_processor_has_more_time(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "pace", lambda: 2.0)
    pytester.makepyfile(f"{COMPUTES}\ndef test_it(): compute()\ndef test_longer(): compute(0.5)")
    pytester.runpytest_inprocess("-p", "tests.guard").assert_outcomes(passed=2, errors=1)


def test_the_pace_is_that_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REFERENCE", 1e9)
    assert guard.pace() == 1
    monkeypatch.setattr(guard, "REFERENCE", 1e-4)
    assert guard.pace() > 10


@pytest.mark.usefixtures("limited")
def test_without_vector_kernels_no_case_is_judged(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(guard.PLAIN, "default")
    pytester.makepyfile(f"{COMPUTES}\ndef test_it():\n    compute()")
    pytester.runpytest_inprocess("-p", "tests.guard").assert_outcomes(passed=1)


@pytest.mark.usefixtures("limited")
def test_on_a_busy_machine_no_case_is_judged(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    load = guard.BUSY * (os.cpu_count() or 1) + 0.1
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    pytester.makepyfile(f"{COMPUTES}\ndef test_it():\n    compute()")
    pytester.runpytest_inprocess("-p", "tests.guard").assert_outcomes(passed=1)

"""The guard of the suite: a case starts no process unless it is marked `process`, and computes for 20 seconds at most.

Time is that of processors, since a clock depends on what else the machine does: of this process, of the processes that
it has waited for, and of those that still run, with all that they have waited for. It is that of the whole case, but
for fixtures that several cases share. What tears a shared fixture down counts for the last of them. They are seconds of
the processor that the limit was set on: a case that exceeds it is judged by how long a piece of work takes at that
moment, since two tests at once were seen to slow one another down by half. On a machine that does much beside the tests
no case is judged; nor is one where torch was told to leave its vector kernels alone.

A process is one that is started by a program's name. `os.fork` alone is none: it costs no import, and the pool of ranks
lives by it. A fixture that starts one does so for every case that may be the first to ask for it; all of these carry
the mark.
"""

from __future__ import annotations

import multiprocessing.util
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

LIMIT = 20.0
"""Seconds of processors for one case."""

WORK = 300_000
"""Numbers that are squared to see how fast a processor is."""

REFERENCE = 0.012
"""Seconds that this took where the limit was set."""

BUSY = 3.0
"""Processes for each core that want to run, from which on times say nothing: the suite itself has half as many."""

PLAIN = "ATEN_CPU_CAPABILITY"
"""The variable that holds torch to simpler kernels than the processor has."""

STARTS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.system"})
"""Events of the interpreter when a process is started."""


class Guard:
    """What the case that runs now may do and has done; cases may be nested, where one tests this guard."""

    def __init__(self) -> None:
        self.case: pytest.Item | None = None
        self.began = self.shared = 0.0

    def refuse(self, program: str) -> None:
        """Fail the case that is about to start a program without the mark."""
        if self.case and not self.case.get_closest_marker("process"):
            instead = "do it in this one, or mark the case `process`"
            pytest.fail(f"{self.case.nodeid} starts a process, {program}: {instead}")


_guards: list[Guard] = []
"""The guards of the pytest sessions that run, the innermost last: a guard's own tests run one within another."""


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in STARTS and _guards:
        _guards[-1].refuse(_program(arguments[0]))


def _program(given: object) -> str:
    return os.fsdecode(given) if isinstance(given, str | bytes | os.PathLike) else repr(given)


_spawn = multiprocessing.util.spawnv_passfds


def _spawned(path: bytes, arguments: Any, files: Any) -> int:
    """What `multiprocessing` starts processes by, which the interpreter has no event for."""
    if _guards:
        _guards[-1].refuse(_program(path))
    return _spawn(path, arguments, files)


def pytest_configure() -> None:
    """Begin to listen; what listens once in an interpreter does so for good."""
    if multiprocessing.util.spawnv_passfds is _spawn:
        multiprocessing.util.spawnv_passfds = _spawned
        sys.addaudithook(_heard)
    _guards.append(Guard())


def pytest_unconfigure() -> None:
    """Forget the session."""
    _guards.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Know which case runs."""
    guard = _guards[-1]
    guard.case, guard.began, guard.shared = item, spent(), 0.0
    try:
        return (yield)
    finally:
        guard.case = None


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
    """Leave out what is set up for several cases, once where one such fixture asks for another."""
    guard, began = _guards[-1], spent()
    before = guard.shared
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            guard.shared = before + spent() - began


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a case that has taken too long."""
    result = yield
    guard = _guards[-1]
    seconds = spent() - guard.began - guard.shared
    slow = PLAIN in os.environ or os.getloadavg()[0] > BUSY * (os.cpu_count() or 1)
    if seconds > LIMIT and not slow and (seconds := seconds / pace()) > LIMIT:
        pytest.fail(f"{item.nodeid} took {seconds:.1f} s of processors, and may take {LIMIT:g}", pytrace=False)
    return result


def pace() -> float:
    """How much longer work takes now than where the limit was set, at least 1."""

    def once() -> float:
        began = time.process_time()
        sum(number * number for number in range(WORK))
        return time.process_time() - began

    return max(1.0, min(once() for _ in range(3)) / REFERENCE)


def spent() -> float:
    """Seconds of processors that this process and all that it started have used so far."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system + sum(map(_of, _children()))


def _children() -> list[str]:
    try:
        return Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    except OSError:  # no Linux
        return []


def _of(process: str) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:  # it has just ended, and not been waited for
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

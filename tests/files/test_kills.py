"""Killed at any moment, gone on with, and the bytes are those of a growth that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from growc.files.staging import open_staging
from tests.files.growths import Growth, experts, files

FINISH = """
import sys, time
from pathlib import Path
from growc.files import copying, fill
from growc.files.copying import Copier
from growc.files.move import finish
from growc.files.staging import open_staging

real = Copier.copy

def slowly(*arguments):
    time.sleep(0.002)
    real(*arguments)

Copier.copy, fill.CHUNK, fill.SYNC_SECONDS, copying.CONGRUENCE = slowly, 4096, 0.005, 4096
to = Path(sys.argv[1])
with open_staging(to) as (aside, resumed):
    print("here" if resumed else "no plan", flush=True)
    if resumed:
        finish(aside, to, workers=2, verify=True)
"""


class Forked:
    """`FINISH` in a child of this process, which has imported already what takes a new process most of its time."""

    def __init__(self, to: Path) -> None:
        reads, writes = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.dup2(writes, 1)
                sys.stdout, sys.argv = os.fdopen(1, "w"), ["", str(to)]
                exec(FINISH, {"__name__": "__main__"})
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writes)
        self.stdout = os.fdopen(reads)

    def end(self, signal_number: int | None = None) -> int:
        """Its status as `subprocess` has it, after the signal if there is one."""
        if signal_number is not None:
            os.kill(self.pid, signal_number)
        status = os.waitpid(self.pid, 0)[1]
        self.stdout.close()
        return os.waitstatus_to_exitcode(status)


class Started:
    """`FINISH` in a process of its own."""

    def __init__(self, to: Path) -> None:
        self.child = subprocess.Popen([sys.executable, "-c", FINISH, str(to)], stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        self.stdout = self.child.stdout

    def end(self, signal_number: int | None = None) -> int:
        """Its status, after the signal if there is one."""
        if signal_number is not None:
            self.child.send_signal(signal_number)
        self.child.wait()
        self.stdout.close()
        return self.child.returncode


Start = Callable[[Path], Forked | Started]


def kill(growth: Growth, after: float, start: Start) -> bool:
    """Whether the growth was killed, so many seconds after it began to move bytes, before it was done."""
    child = start(growth.to)
    if child.stdout.readline() == "no plan\n":  # the last kill came just before the rename
        assert child.end() == 0
        growth.grow(verify=True)
        return False
    time.sleep(after)
    status = child.end(signal.SIGKILL)
    assert status in (0, -9)
    return status != 0


def begin(root: Path) -> Growth:
    root.mkdir()
    growth = experts(root, count=20)
    with open_staging(growth.to, growth.key) as (aside, _):
        growth.prepare(aside)
    return growth


def kill_often(root: Path, kills: int, seed: int, start: Start) -> None:
    """Growths killed at random moments, gone on with or made anew until each is whole."""
    whole = begin(root / "whole")
    whole.grow(verify=True)
    expected, random, made = files(whole.to), Random(seed), 0
    while kills:
        growth = begin(root / str(made))
        made += 1
        while not growth.to.exists() and kills:
            kills -= kill(growth, random.uniform(0, 0.5), start)
        if not growth.to.exists():
            growth.grow(verify=True)
        assert files(growth.to) == expected
        assert not growth.aside.exists()


@pytest.mark.process
def test_a_growth_killed_a_few_times(tmp_path: Path) -> None:
    kill_often(tmp_path, 4, 5, Started)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.full) for seed in (2, 3, 4))])
def test_growths_killed_a_hundred_times(tmp_path: Path, seed: int) -> None:
    """Twenty times for each seed; they wait for the disk more than they compute."""
    kill_often(tmp_path, 20, seed, Forked)

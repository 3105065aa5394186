"""Killed at any moment, gone on with, and the bytes are those of a growth that was left alone."""

from __future__ import annotations

import subprocess
import sys
import time
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


def kill(growth: Growth, after: float) -> bool:
    """Whether the growth was killed, so many seconds after it began to move bytes, before it was done."""
    command = [sys.executable, "-c", FINISH, str(growth.to)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        if child.stdout.readline() == "no plan\n":  # the last kill came just before the rename
            child.wait()
            growth.grow(verify=True)
        time.sleep(after)
        child.kill()
    assert child.returncode in (0, -9)
    return child.returncode != 0


def begin(root: Path) -> Growth:
    root.mkdir()
    growth = experts(root, count=20)
    with open_staging(growth.to, growth.key) as (aside, _):
        growth.prepare(aside)
    return growth


def kill_often(root: Path, kills: int, seed: int) -> None:
    """Growths killed at random moments, gone on with or made anew until each is whole."""
    whole = begin(root / "whole")
    whole.grow(verify=True)
    expected, random, made = files(whole.to), Random(seed), 0
    while kills:
        growth = begin(root / str(made))
        made += 1
        while not growth.to.exists() and kills:
            kills -= kill(growth, random.uniform(0, 0.5))
        if not growth.to.exists():
            growth.grow(verify=True)
        assert files(growth.to) == expected
        assert not growth.aside.exists()


@pytest.mark.process
def test_a_growth_killed_a_few_times(tmp_path: Path) -> None:
    kill_often(tmp_path, 4, seed=5)


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_growths_killed_a_hundred_times(tmp_path: Path, seed: int) -> None:
    """Twenty times for each seed."""
    kill_often(tmp_path, 20, seed)

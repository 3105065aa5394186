"""Run a stage of a suite on a checkout, and say whether a test of it fails that passes without the mutant."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.test_power.mutants import FOLDERS, Mutant

SUITES: dict[str, list[dict[str, Any]]] = tomllib.loads(
    Path(__file__).with_name("suites.toml").read_text(encoding="utf-8")
)

FOUND, SURVIVED, HUNG, ANYWAY = "found", "survived", "hung", "fails without it too"
"""Outcomes of a stage on a mutant; another exit status of pytest is one of its own, and is not found."""

PASSED, FAILED, INTERRUPTED, USAGE = range(4)
"""Exit statuses of pytest. A module that cannot be imported interrupts it, and is a usage error in a conftest."""


@dataclass(frozen=True)
class Stage:
    """Arguments of pytest, and the seconds that they may take; a mutant that passes the `whole` suite has survived."""

    arguments: str
    limit: int
    whole: bool


def stages_of(suite: str, folder: str) -> list[Stage]:
    """The stages for mutants of a folder."""
    table = SUITES[suite]
    return [
        Stage(row["pytest"].format(folder=folder), row["limit"], row is table[-1])
        for row in table
        if folder in row.get("folders", FOLDERS)
    ]


def outcome_of(stage: Stage, mutant: Mutant, tree: Path) -> tuple[str, str]:
    """What a stage says of a mutant, and the test that found it. The checkout is left as it was.

    Raises:
        ChildProcessError: pytest was killed by a signal, which says nothing of the mutant.
    """
    whole = mutant.apply(tree)
    try:
        status, failed = _pytest(tree, shlex.split(stage.arguments), stage.limit)
    finally:
        (tree / mutant.file).write_bytes(whole)
    if status is None:
        return HUNG, ""
    if status == PASSED:
        return SURVIVED, ""
    if not failed:
        return f"exit {status}", ""
    again, _ = _pytest(tree, failed, stage.limit)
    return FOUND if again == PASSED else ANYWAY, failed[0]


def environment(tree: Path) -> dict[str, str]:
    """Tests and the processes that they start import growc from the checkout; stale byte code is never written."""
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


def _pytest(tree: Path, arguments: list[str], limit: int) -> tuple[int | None, list[str]]:
    """The exit status (None: out of time), and what failed, as arguments of pytest."""
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-o", f"cache_dir={cache}", *arguments]
        process = subprocess.Popen(command, cwd=tree, env=environment(tree), stdout=output, stderr=subprocess.STDOUT)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            return None, []
        finally:
            _end(process)
        if status < 0:
            raise ChildProcessError(f"pytest was ended by signal {-status}")
        failed = Path(cache, "v", "cache", "lastfailed")  # pytest's own list: its summary cuts long names
        if status in (FAILED, INTERRUPTED) and failed.exists():
            return status, list(json.loads(failed.read_text(encoding="utf-8")))
        output.seek(0)
        if status == USAGE and "ImportError while loading conftest" in output.read():
            return status, ["--collect-only", *arguments]
        return status, []


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    if process.poll() is not None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()

"""The benchmark of moving bytes runs, at a size that says nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.checkpoints.synthetic import Shape

ROOT = Path(__file__).parents[2]


@pytest.mark.process
@pytest.mark.slow
def test_packing_is_measured(tmp_path: Path) -> None:
    """And what was unpacked is compared with `diff` there."""
    words = ["--repeats", "1", "--layers", "2", "--experts", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.checkpoints.deltas", str(tmp_path), *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=280, capture_output=True, text=True,
    )  # fmt: skip
    found = [line.split(":")[0].strip() for line in done.stdout.splitlines()]
    assert found == ["fresh", "cp", "pack", "unpack", "trained", "cp", "pack", "unpack"]
    assert not list(tmp_path.iterdir())


@pytest.mark.process
@pytest.mark.slow
def test_all_is_measured_and_reported(tmp_path: Path) -> None:
    assert {"layers", "experts"} <= vars(Shape()).keys()
    words = ["--repeats", "1", "--layers", "2", "--experts", "4", "--into", str(tmp_path / "into")]
    subprocess.run(
        [sys.executable, "-m", "benchmarks.checkpoints.measure", str(tmp_path / "work"), *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=280,
    )  # fmt: skip
    results = json.loads((tmp_path / "into/results.json").read_text())
    assert {"file_systems", "planning", "noise"} <= results.keys()
    text = (tmp_path / "into/RESULTS.md").read_text()
    for goal in ("warm: at most 1.15", "cold: at most 1.00", "`--verify`: at most", "memory: at most", "at most 5 s"):
        assert goal in text

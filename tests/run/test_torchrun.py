"""The same command under torchrun, as a cluster's launcher would start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run import tiny

pytestmark = [pytest.mark.slow, pytest.mark.process]

DIVERGING = {"batch_tokens": 256, "optimizer": {"name": "sgd", "lr": 1e30}}


def _torchrun(spec: Path, run_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "growc",
        "run",
    ]
    return subprocess.run(
        [*command, str(spec), "--run-dir", str(run_dir)],
        capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip


def test_ranks_started_by_torchrun_run_the_spec(tmp_path: Path) -> None:
    spec = tiny.spec(tmp_path)
    done = _torchrun(spec, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    tiny.run(spec, tmp_path / "alone")
    one, two = (tiny.rows(tmp_path / name, "cpt") for name in ("alone", "run"))
    assert len(two) == 10
    assert all(abs(two[step] / one[step] - 1) < 1e-5 for step in one)


def test_what_stops_a_run_is_told_and_ends_all_ranks(tmp_path: Path) -> None:
    spec = tiny.spec(tmp_path, training=DIVERGING)
    done = _torchrun(spec, tmp_path / "run")
    assert done.returncode != 0
    assert "GROW616" in done.stdout + done.stderr
    assert not (tmp_path / "run/stages/pretrain/checkpoint").exists()


def test_a_wrong_spec_is_told_before_anything_is_written(tmp_path: Path) -> None:
    done = _torchrun(tiny.spec(tmp_path, name=""), tmp_path / "run")
    assert done.returncode != 0
    assert "GROW" in done.stdout + done.stderr
    assert "growc/spec" not in done.stderr  # no traceback of ours

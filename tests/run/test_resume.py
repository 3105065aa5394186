"""A run cut off at any moment goes on to the same end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import pool
from tests.run import tiny

pytestmark = pytest.mark.slow

ADAM = {
    "batch_tokens": 256,
    "optimizer": {"name": "adamw", "lr": 1e-3},
    "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.2},
    "checkpoint_every": 3,
}
END = "stages/cpt/checkpoint/training"
Start = Callable[..., "pool.Forked | subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    tiny.run(tiny.spec(folder, training=ADAM), folder / "run", 2)
    return folder / "run"


def _cut_off(folder: Path, stage: str, step: int, start: Start = tiny.start, **changes: Any) -> Path:
    """Kill a run of two ranks once `stage` has done `step` steps."""
    path = tiny.spec(folder, **changes)
    child = start(path, folder / "run", 2)
    tiny.kill_when(child, lambda: max(tiny.rows(folder / "run", stage), default=0) >= step)
    assert not (folder / "run" / "summary.json").exists()
    return path


@pytest.mark.parametrize(
    ("stage", "start"),
    [("pretrain", tiny.start), pytest.param("cpt", tiny.start_process, marks=pytest.mark.process)],
    ids=["pretrain", "cpt-processes"],
)
def test_killed_and_resumed_on_the_same_layout_ends_bit_equal(
    unbroken: Path, tmp_path: Path, stage: str, start: Start
) -> None:
    path = _cut_off(tmp_path, stage, 5, start, training=ADAM)
    output = tiny.run(path, tmp_path / "run", 2)
    assert "resumed at step" in output
    expected, seen = tiny.tensors(unbroken / END), tiny.tensors(tmp_path / "run" / END)
    assert expected.keys() == seen.keys()
    assert all(torch.equal(expected[name], seen[name]) for name in expected)
    for name in ("pretrain", "cpt"):
        assert tiny.rows(tmp_path / "run", name) == tiny.rows(unbroken, name)


def test_killed_and_resumed_on_another_layout_ends_alike(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("alone")
    sgd = {**ADAM, "optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.9}}
    tiny.run(tiny.spec(folder, training=sgd), folder / "run", 1)
    path = _cut_off(tmp_path, "cpt", 5, training=sgd)
    tiny.run(path, tmp_path / "run", 1)
    for stage in ("pretrain", "cpt"):
        assert tiny.rows(tmp_path / "run", stage) == pytest.approx(tiny.rows(folder / "run", stage), rel=1e-5)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A spec whose run of two ranks a SIGINT has stopped, and what that run printed."""
    folder = tmp_path_factory.mktemp("interrupted")
    path = tiny.spec(folder, training=ADAM)
    child = tiny.start_process(path, folder / "run", 2)
    while max(tiny.rows(folder / "run", "pretrain"), default=0) < 2:
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=120)
    assert child.returncode == 3, output
    return path, output


@pytest.mark.process
def test_an_interrupt_saves_and_says_so(interrupted: tuple[Path, str]) -> None:
    _, output = interrupted
    assert "Traceback" not in output
    assert output.endswith("stopped; the same command goes on from what is saved\n")


@pytest.mark.process
def test_interrupted_and_resumed_ends_bit_equal(unbroken: Path, interrupted: tuple[Path, str]) -> None:
    path, _ = interrupted
    tiny.run(path, path.parent / "run", 2)
    expected, seen = tiny.tensors(unbroken / END), tiny.tensors(path.parent / "run" / END)
    assert all(torch.equal(expected[name], seen[name]) for name in expected)


def test_a_finished_run_does_nothing_again(unbroken: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (unbroken / "stages").rglob("*") if path.is_file()}
    spec_path = Path(json.loads((unbroken / "plan.json").read_text())["spec_path"])
    tiny.run(spec_path, unbroken, 2)
    assert before == {path: path.stat().st_mtime_ns for path in (unbroken / "stages").rglob("*") if path.is_file()}

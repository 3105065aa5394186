"""The benchmark of moving bytes runs, at a size that says nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.checkpoints import deltas, measure
from benchmarks.checkpoints.synthetic import Shape

ROOT = Path(__file__).parents[2]


@pytest.mark.process
@pytest.mark.slow
def test_packing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what was unpacked is compared with `diff` there."""
    words = ["--repeats", "1", "--layers", "2", "--experts", "4"]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["deltas", str(tmp_path), *words])
    deltas.main()
    found = [line.split(":")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert found == ["fresh", "cp", "pack", "unpack", "trained", "cp", "pack", "unpack"]
    assert not list(tmp_path.iterdir())


@pytest.mark.process
@pytest.mark.slow
def test_all_is_measured_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"layers", "experts"} <= vars(Shape()).keys()
    words = ["--repeats", "1", "--layers", "2", "--experts", "4", "--into", str(tmp_path / "into")]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["measure", str(tmp_path / "work"), *words])
    measure.main()
    results = json.loads((tmp_path / "into/results.json").read_text())
    assert {"file_systems", "planning", "noise"} <= results.keys()
    text = (tmp_path / "into/RESULTS.md").read_text()
    for goal in ("warm: at most 1.15", "cold: at most 1.00", "`--verify`: at most", "memory: at most", "at most 5 s"):
        assert goal in text

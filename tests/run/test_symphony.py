"""Symphony-MoE under real processes: units are matched once, recorded, and read again; layouts agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.files.beside import TRAINING
from tests.run import tiny

pytestmark = pytest.mark.slow

SGD: dict[str, Any] = {**tiny.PLAIN, "optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.9}}
STAGES: list[dict[str, Any]] = [
    {"name": "first", "train": {"steps": 6, "data": "pretrain"}},
    {"name": "second", "from": "source", "train": {"steps": 6, "data": "cpt"}},
    {"name": "mix", "from": ["first", "second"], "grow": [{"op": "symphony", "batches": 2}]},
]


def _run(folder: Path, ranks: int) -> Path:
    folder.mkdir()
    tiny.run(tiny.spec(folder, "qwen3", training=SGD, stages=STAGES), folder / "run", ranks)
    return folder / "run"


def test_two_ranks_match_units_as_one_does(tmp_path: Path) -> None:
    runs = [_run(tmp_path / str(ranks), ranks) for ranks in (1, 2)]
    decisions = [
        next(
            event
            for event in map(json.loads, (run / "journal.jsonl").read_text().splitlines())
            if event["event"] == "decision"
        )
        for run in runs
    ]
    for layer, (order,) in decisions[0]["units"].items():
        assert sorted(order) == list(range(48))
        assert order != list(range(48)), layer
    assert decisions[0]["units"] == decisions[1]["units"]
    states = [tiny.tensors(run / "stages" / "mix" / "checkpoint" / TRAINING) for run in runs]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-4, atol=1e-6)

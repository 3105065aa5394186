"""Keys that start as means over calibration text, under real processes: measured once, recorded, alike on layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.files.beside import TRAINING
from tests.run import tiny

SGD: dict[str, Any] = {**tiny.PLAIN, "optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.9}}
GROW = {"op": "router_upcycling", "experts": 4, "keys": "calibrated", "combine": "sum_logits", "batches": 2}
STAGES: list[dict[str, Any]] = [
    {"name": "first", "train": {"steps": 6, "data": "pretrain"}},
    {"name": "mix", "grow": [GROW]},
]


def _run(folder: Path, ranks: int) -> tuple[Path, dict[str, list[float]]]:
    folder.mkdir()
    tiny.run(tiny.spec(folder, "qwen3", training=SGD, stages=STAGES), folder / "run", ranks)
    events = map(json.loads, (folder / "run" / "journal.jsonl").read_text().splitlines())
    return folder / "run", next(event["means"] for event in events if event["event"] == "decision")


@pytest.mark.slow
def test_two_ranks_measure_the_means_that_one_does(tmp_path: Path) -> None:
    (one, means), (two, others) = (_run(tmp_path / str(ranks), ranks) for ranks in (1, 2))
    assert means.keys() == others.keys() == {"0/mean_token", "1/mean_token"}
    for name, mean in means.items():
        assert len(mean) == 32
        torch.testing.assert_close(torch.tensor(mean), torch.tensor(others[name]), rtol=1e-4, atol=1e-6)
    states = [tiny.tensors(run / "stages" / "mix" / "checkpoint" / TRAINING) for run in (one, two)]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-4, atol=1e-6)
    # The state has what the journal says, by the attention's own weights; two heads a pair, two query heads a key head.
    key = states[1]["model.model.layers.0.self_attn.k_proj.weight"].double().view(2, 8, 32)
    keys = states[1]["model.model.layers.0.mlp.gate.weight"].double()
    made = key @ torch.tensor(others["0/mean_token"], dtype=torch.float64)
    halves = keys.view(4, 2, 8)[0]
    assert all(any(torch.allclose(half, head, atol=1e-6) for head in made) for half in halves)

"""Nexus from one spec: three branches on three parts of the data, grown with their domains, trained on; killed, resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from growc.checkpoint.training import TRAINING
from tests.run import tiny

pytestmark = pytest.mark.slow

TRAINED: dict[str, Any] = {
    **tiny.PLAIN,
    "optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 0.1},
    "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.2},
    "checkpoint_every": 2,
}
BRANCHES = ("first", "second", "third")
NEXUS = {"op": "nexus", "batches": 2, "projection_width": 16, "router": {"std": 0.1}, "optimizer_state": "gradient"}
STAGES: list[dict[str, Any]] = [
    {"name": "seed", "train": {"steps": 6, "data": "seed"}},
    *({"name": part, "from": "seed.stable", "train": {"steps": 6, "data": part}} for part in BRANCHES),
    {"name": "mix", "from": ["seed.stable", *BRANCHES], "grow": [NEXUS]},
    {"name": "on", "train": {"steps": 8, "data": "mixed", "balance": {"method": "auxiliary", "rate": 0.01}}},
]


def _spec(folder: Path) -> Path:
    path = tiny.spec(folder, "qwen3", training=TRAINED, stages=STAGES)
    return tiny.with_parts(path, dict.fromkeys(("seed", *BRANCHES, "mixed"), 0.2))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    tiny.run(_spec(folder), folder / "run", 2)
    return folder / "run"


def _state(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return tiny.tensors(run / "stages" / stage / "checkpoint" / TRAINING)


def _domains(run: Path) -> dict[str, list[float]]:
    events = map(json.loads, (run / "journal.jsonl").read_text().splitlines())
    (means,) = [event["means"] for event in events if event["event"] == "decision"]
    return means


def test_domains_are_measured_once_for_every_branch_and_stay_fixed(unbroken: Path) -> None:
    domains = _domains(unbroken)
    assert [*domains] == ["domain/1", "domain/2", "domain/3"]
    rows = torch.tensor([*domains.values()])
    assert torch.pdist(rows).min() > 1e-3, "each has its own part of the data"
    for stage in ("mix", "on"):
        state = _state(unbroken, stage)
        embeddings = [name for name in state if name.startswith("model.") and name.endswith("mlp.gate.weight")]
        assert len(embeddings) == 2
        assert all(torch.equal(state[name], rows) for name in embeddings)
        assert not any("gate.weight" in name for name in state if name not in embeddings), "no optimizer state"
    assert not torch.equal(*(_state(unbroken, stage)["model.model.layers.0.mlp.gate.down"] for stage in ("mix", "on")))


def test_the_shared_expert_is_the_seeds_and_experts_are_the_branches_with_their_moments(unbroken: Path) -> None:
    seed, branches = tiny.tensors(unbroken / "stages" / "seed" / "stable"), [_state(unbroken, b) for b in BRANCHES]
    mixed = _state(unbroken, "mix")
    shared = [name for name in mixed if ".shared_expert." in name and not name.endswith("step")]
    assert len(shared) == 2 * 3 * 3, "weights and both moments of three maps in two layers"
    assert all(torch.equal(mixed[name], seed[name.replace(".shared_expert", "")]) for name in shared)
    experts = [name for name in mixed if name.endswith("experts.gate_up_proj") or "experts.gate_up_proj.exp" in name]
    assert len(experts) == 2 * 3
    for name in experts:
        for number, branch in enumerate(branches):
            parts = (name.replace("experts.gate_up_proj", f"{part}_proj.weight") for part in ("gate", "up"))
            assert torch.equal(mixed[name][number], torch.cat([branch[part] for part in parts])), name
    query = "model.model.layers.0.self_attn.q_proj.weight"
    torch.testing.assert_close(mixed[query], sum(state[query] for state in (seed, *branches)) / 4)
    losses = tiny.rows(unbroken, "on")
    assert losses[8] < losses[1]


def test_domains_are_the_seeds_last_hidden_states_on_the_branches_data(unbroken: Path, tmp_path: Path) -> None:
    """One rank measures what two do; and what the seed's own code says of the same text."""
    tiny.run(_spec(tmp_path), tmp_path / "run", 1, "stages[on].train.steps=1")
    for name, values in _domains(tmp_path / "run").items():
        torch.testing.assert_close(torch.tensor(values), torch.tensor(_domains(unbroken)[name]), rtol=1e-3, atol=1e-4)


def test_killed_after_growth_and_resumed_it_ends_bit_equal(unbroken: Path, tmp_path: Path) -> None:
    path = _spec(tmp_path)
    child = tiny.start(path, tmp_path / "run", 2)
    tiny.kill_when(child, lambda: max(tiny.rows(tmp_path / "run", "on"), default=0) >= 4)
    assert "resumed at step" in tiny.run(path, tmp_path / "run", 2)
    expected, seen = _state(unbroken, "on"), _state(tmp_path / "run", "on")
    assert expected.keys() == seen.keys()
    assert all(torch.equal(expected[name], seen[name]) for name in expected)
    assert tiny.rows(tmp_path / "run", "on") == tiny.rows(unbroken, "on")


def test_the_result_loads_after_importing_growc(unbroken: Path) -> None:
    folder = unbroken / "stages" / "on" / "checkpoint"
    code = (
        "import sys, growc, torch; from transformers import AutoModelForCausalLM as A\n"
        "model, report = A.from_pretrained(sys.argv[1], output_loading_info=True)\n"
        "assert not any(report[key] for key in ('missing_keys', 'unexpected_keys'))\n"
        "print(float(model(torch.arange(64)[None]).logits.double().norm()))"
    )
    call = [sys.executable, "-c", code, str(folder)]
    norm = float(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert norm == pytest.approx(float(model(torch.arange(64)[None]).logits.double().norm()))

"""Nexus from one spec: branches on parts of the data, grown with their domains, trained on; killed and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.files.beside import TRAINING
from tests.run import tiny
from tests.run.exported import loaded

pytestmark = pytest.mark.slow

TRAINED: dict[str, Any] = {
    **tiny.PLAIN,
    "optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 0.1},
    "schedule": {"name": "wsd", "warmup": 0.1, "anneal": 0.2},
    "checkpoint_every": 2,
}
BRANCHES = ("first", "second")
NEXUS = {"op": "nexus", "batches": 2, "projection_width": 16, "router": {"std": 0.1}, "optimizer_state": "gradient"}
STAGES: list[dict[str, Any]] = [
    {"name": "seed", "train": {"steps": 6, "data": "seed"}},
    *({"name": part, "from": "seed.stable", "train": {"steps": 6, "data": part}} for part in BRANCHES),
    {"name": "mix", "from": ["seed.stable", *BRANCHES], "grow": [NEXUS]},
    {"name": "on", "train": {"steps": 8, "data": "mixed", "balance": {"method": "auxiliary", "rate": 0.01}}},
]
EXTENDED: list[dict[str, Any]] = [
    {"name": "third", "from": "seed.stable", "train": {"steps": 6, "data": "third"}},
    {"name": "extend", "from": ["on", "third", "seed.stable"], "grow": [{"op": "nexus_extension", "batches": 2}]},
    {"name": "further", "train": {"steps": 4, "data": "mixed", "balance": {"method": "auxiliary", "rate": 0.01}}},
]


def _spec(folder: Path, **changes: Any) -> Path:
    path = tiny.spec(folder, "qwen3", **{"training": TRAINED, "stages": [*STAGES, *EXTENDED], **changes})
    return tiny.with_parts(path, dict.fromkeys(("seed", *BRANCHES, "third", "mixed"), 0.2))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    tiny.run(_spec(folder), folder / "run", 2)
    return folder / "run"


def _state(run: Path, stage: str) -> dict[str, torch.Tensor]:
    return tiny.tensors(run / "stages" / stage / "checkpoint" / TRAINING)


def _domains(run: Path, stage: str = "mix") -> dict[str, list[float]]:
    events = map(json.loads, (run / "journal.jsonl").read_text().splitlines())
    (means,) = [event["means"] for event in events if event["event"] == "decision" and event["stage"] == stage]
    return means


def test_domains_are_measured_once_for_every_branch_and_stay_fixed(unbroken: Path) -> None:
    domains = _domains(unbroken)
    assert [*domains] == ["domain/1", "domain/2"]
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
    torch.testing.assert_close(mixed[query], sum(state[query] for state in (seed, *branches)) / 3)
    losses = tiny.rows(unbroken, "on")
    assert losses[8] < losses[1]


def test_the_extension_adds_a_row_and_an_expert_and_trains_on(unbroken: Path) -> None:
    before, branch, after = (_state(unbroken, stage) for stage in ("on", "third", "extend"))
    (new,) = _domains(unbroken, "extend").values()
    name = "model.model.layers.1.mlp.gate.weight"
    assert torch.equal(after[name], torch.cat([before[name], torch.tensor([new])]))
    assert torch.equal(_state(unbroken, "further")[name], after[name])
    down = "model.model.layers.0.mlp.experts.down_proj"
    expert = branch["model.model.layers.0.mlp.down_proj.weight"]
    assert torch.equal(after[down], torch.cat([before[down], expert[None]]))
    norm = "model.model.norm.weight"
    torch.testing.assert_close(after[norm], before[norm] * 2 / 3 + branch[norm] / 3)
    assert tiny.rows(unbroken, "further").keys() == {1, 2, 3, 4}


def test_losses_and_domains_do_not_depend_on_the_layout(tmp_path: Path) -> None:
    """SGD: with Adam, discrete routing turns rounding differences between layouts into real ones."""
    runs = list[Path]()
    for name, ranks, overrides in (("one", 1, ()), ("fsdp", 2, ()), ("ep", 2, ("parallel.ep=2",))):
        (folder := tmp_path / name).mkdir()
        training = {**tiny.PLAIN, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}
        tiny.run(_spec(folder, training=training, stages=STAGES), folder / "run", ranks, *overrides)
        runs.append(folder / "run")
    for other in runs[1:]:
        assert tiny.rows(other, "on") == pytest.approx(tiny.rows(runs[0], "on"), rel=1e-5)
        for name, values in _domains(runs[0]).items():
            torch.testing.assert_close(torch.tensor(_domains(other)[name]), torch.tensor(values), rtol=1e-4, atol=1e-5)


def test_killed_after_growth_and_resumed_it_ends_bit_equal(unbroken: Path, tmp_path: Path) -> None:
    path = _spec(tmp_path)
    child = tiny.start(path, tmp_path / "run", 2)
    tiny.kill_when(child, lambda: max(tiny.rows(tmp_path / "run", "on"), default=0) >= 4)
    assert "resumed at step" in tiny.run(path, tmp_path / "run", 2)
    expected, seen = _state(unbroken, "further"), _state(tmp_path / "run", "further")
    assert expected.keys() == seen.keys()
    assert all(torch.equal(expected[name], seen[name]) for name in expected)
    assert tiny.rows(tmp_path / "run", "on") == tiny.rows(unbroken, "on")
    assert _domains(tmp_path / "run") == _domains(unbroken)


def test_the_result_loads_with_the_weights_of_the_run(unbroken: Path) -> None:
    model = loaded(unbroken / "stages" / "further" / "checkpoint")
    with torch.no_grad():
        assert model(torch.arange(64)[None]).logits.isfinite().all()

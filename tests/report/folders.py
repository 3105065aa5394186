"""Run folders in the run's own format, small or deep, made without training anything."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from growc.checkpoint.atomic import write_json
from growc.run.folder import RunFolder
from growc.run.journal import append_rows, record

BATCH = 8192
WINDOWS = 32


@dataclass(frozen=True)
class Made:
    """What a made run is like. `through` stops after that stage, and leaves the next one under way."""

    name: str = "upcycle-8-to-16"
    layers: int = 4
    experts: int = 8
    top_k: int = 2
    steps: int = 400
    free: bool = False
    through: str = ""
    stages: tuple[str, ...] = ("pretrain", "upcycle", "cpt")
    arms: tuple[str, ...] = ("fixed_source", "fixed_target")
    values: dict[str, Any] = field(default_factory=lambda: {"growth": 1, "name": "upcycle-8-to-16"})
    seed: int = 0


def make_run(path: Path, made: Made | None = None) -> Path:
    """Write a run folder at `path`."""
    made = made or Made()
    folder, draws = RunFolder(path), random.Random(made.seed)
    path.mkdir(parents=True)
    planned = _planned(made)
    write_json(folder.plan, _plan(made, planned))
    record(folder.journal, "run_started", ranks=4, layout="fsdp 4 x ep 2", device="cuda")
    under_way = False
    for stage in planned:
        at = folder.stage(stage["name"])
        at.mkdir(parents=True)
        record(folder.journal, "stage_started", stage=stage["name"], kind=stage["kind"])
        if stage["kind"] == "train":
            steps = made.steps // 3 if under_way else made.steps
            append_rows(at / "metrics.jsonl", _rows(stage, steps, draws))
            record(folder.journal, "state_saved", stage=stage["name"], step=int(0.9 * made.steps), state="stable")
        if under_way:
            break
        write_json(at / "result.json", _result(stage, made, draws))
        folder.checkpoint(stage["name"]).mkdir()
        record(folder.journal, "stage_finished", stage=stage["name"])
        under_way = stage["name"] == made.through
    _spread_times(folder.journal)
    if not made.through:
        write_json(folder.summary, _summary(made, planned))
    return path


def _planned(made: Made) -> list[dict[str, Any]]:
    first, grow, last = made.stages
    rows = [
        _stage(first, [], made, grown=False),
        _stage(grow, [f"{first}.stable"], made, grown=True, grows=True),
        _stage(last, [grow], made, grown=True),
    ]
    if "fixed_source" in made.arms:
        rows.append(_stage(f"fixed_source/{last}", [f"{first}.stable"], made, grown=False))
    if "fixed_target" in made.arms:
        rows.append(_stage(f"fixed_target/{first}", [], made, grown=True))
        rows.append(_stage(f"fixed_target/{last}", [f"fixed_target/{first}.stable"], made, grown=True))
    return rows


def _stage(name: str, start: list[str], made: Made, *, grown: bool, grows: bool = False) -> dict[str, Any]:
    experts = made.experts * (2 if grown else 1)
    expert, dense = 98_304 * made.layers, 1_400_000 + 200_000 * made.layers
    router = 2.0 * 128 * experts * made.layers
    sites = [f"model.layers.{layer}.mlp" for layer in range(1, made.layers + 1)]
    return {
        "name": name,
        "kind": "grow" if grows else "train",
        "from": start,
        "steps": None if grows else made.steps,
        "tokens": None if grows else made.steps * BATCH,
        "model": {
            "total_params": dense + expert * experts,
            "active_params": dense + expert * made.top_k,
            "flops_per_token": 2.0 * (dense + expert * made.top_k) + router,
            "router_flops_per_token": router,
            "layers": made.layers + 1,
            "moe_layers": made.layers,
            "experts": experts,
            "top_k": made.top_k,
        },
        "operators": [
            {
                "op": "expert_upcycling",
                "sites": sites,
                "preserves": "nearly" if made.free else "exactly",
                "tensors": {"created": 0, "reshaped": 4 * made.layers, "copied": 6 * made.layers + 3, "dropped": 0},
            }
        ]
        if grows
        else [],
    }


def _plan(made: Made, planned: list[dict[str, Any]]) -> dict[str, Any]:
    grow = made.stages[1]
    return {
        "growc_plan": 1,
        "name": made.name,
        "hashes": {"spec": "1f" * 32, "source": "2e" * 32, "code": "3d" * 32},
        "spec_path": "/specs/upcycle-8-to-16.growth.yaml",
        "overrides": [f"stages[0].train.steps={made.steps}"],
        "values": made.values,
        "stages": planned,
        "cost": {"train_tokens": {}, "train_flops": {}},
        "diagnostics": [],
        "invariants": [
            {"name": "active_flops", "stage": grow, "status": "held", "value": 0.0031, "limit": 0.005,
             "detail": "router 0.31 % of 0.31 %"},
            {"name": "loss", "stage": grow, "status": "to_measure", "value": None, "limit": 1e-5, "detail": ""},
            {"name": "total_params", "stage": made.stages[2], "status": "held", "value": 8.49e6, "limit": 14e9, "detail": ""},
        ],
    }  # fmt: skip


def _start(name: str, free: bool) -> tuple[float, float]:
    """Losses at the start and the floor of a training stage."""
    if name.endswith("pretrain"):
        return 5.55, 2.28 if name.startswith("fixed_target") else 2.34
    start = 2.47 if "fixed_target" in name else 2.55 + (0.35 if free and "/" not in name else 0.0)
    return start, {"fixed_source": 2.27, "fixed_target": 2.17}.get(name.split("/", maxsplit=1)[0], 2.20)


def _loss(name: str, share: float, free: bool) -> float:
    high, low = _start(name, free)
    speed = 9.0 if high > 3 else 3.5 if high < 2.7 else 14.0
    annealed = 0.06 * max(0.0, (share - 0.9) / 0.1)
    return (
        low
        + (high - low) * math.exp(-speed * share)
        + 0.16 * (1 - share)
        - annealed
        - (0.16 if high < 3 else 0) * (1 - share)
    )


def _rows(stage: dict[str, Any], steps: int, draws: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        share = step / stage["steps"]
        noise = draws.gauss(0, 0.03)
        speed = 61_000 * draws.uniform(0.9, 1.05) * (0.93 if stage["model"]["experts"] > 8 else 1)
        rows.append({"step": step, "tokens": step * BATCH, "loss": _loss(stage["name"], share, False) + noise, "lr": 1e-3,
                     "grad_norm": 1.0, "tokens_per_second": speed, "max_violation": 0.5})  # fmt: skip
        if step % max(stage["steps"] // 8, 1) == 0:
            rows.append({"step": step, "val_loss": _loss(stage["name"], share, False)})
    return rows


def _result(stage: dict[str, Any], made: Made, draws: random.Random) -> dict[str, Any]:
    name = stage["name"]
    spread = [0.3 * math.sin(1.7 * window) for window in range(WINDOWS)]
    layers = range(1, made.layers + 1)
    if stage["kind"] == "grow":
        before = [2.5512 + s for s in spread]
        predicted = [b + 0.3134 + 0.04 * math.cos(2.1 * window) for window, b in enumerate(before)]
        after = [p + 2e-8 for p in predicted] if made.free else [b + 1.3e-9 for b in before]
        replicas = {layer: [2] * made.experts for layer in layers}
        return {
            "val_losses_before": before,
            "operators": [{"op": "expert_upcycling", "replicas": replicas, "scores": {}}],
            "predicted_val_losses": predicted,
            "k_eff": {layer: 1.0 + 0.06 * made.top_k * draws.random() + made.top_k / 2 - 1 for layer in layers},
            "val_losses": after,
            "seconds": 41.7,
        }
    experts = stage["model"]["experts"]
    final = _loss(name, 1.0, made.free)
    return {
        "val_losses": [final + s + draws.gauss(0, 0.004) for s in spread],
        "load": {
            layer: [int(4000 * draws.lognormvariate(0, 0.25 + 0.5 / layer)) for _ in range(experts)] for layer in layers
        },
        "sibling_cosine": {layer: 1 - 0.02 * layer**0.4 * draws.uniform(0.8, 1.2) for layer in layers}
        if name == made.stages[2]
        else {},
    }


def _summary(made: Made, planned: Sequence[dict[str, Any]]) -> dict[str, Any]:
    both = len(made.arms) == 2
    return {
        "name": made.name,
        "stages": {stage["name"]: {} for stage in planned},
        "comparison": {
            "eta": 0.71 if both else None,
            "eta_noise": 0.03 if both else None,
            "gap": 0.1012 if both else None,
            "noise": 0.0011 if both else None,
            "saving": -0.02 if "fixed_target" in made.arms else None,
            "sunk_saving": 0.46 if "fixed_target" in made.arms else None,
            "why_null": None if both else "eta needs both baselines, fixed_source and fixed_target",
        },
        "invariants": [
            {
                "name": "loss",
                "stage": made.stages[1],
                "status": "held",
                "value": 0.3134 if made.free else 1.3e-9,
                "limit": 1e-5,
            }
        ],
    }


def _spread_times(journal: Path) -> None:
    """Give the events the times of a run of minutes."""
    import json

    lines, now = journal.read_text(encoding="utf-8").splitlines(), 1_795_370_810.0
    written: list[str] = []
    for line in lines:
        event = json.loads(line)
        now += {"stage_finished": 12.0, "state_saved": 52.0}.get(event["event"], 1.5) + (
            40.0 if event["event"] == "stage_finished" and event["stage"].endswith("upcycle") else 0.0
        )
        written.append(json.dumps(event | {"time": now}))
    journal.write_text("\n".join(written) + "\n", encoding="utf-8")

"""Run folders in the run's own format, small or deep, made without training anything."""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from growc.files.atomic import write_json
from growc.plan.freeze import write_plan
from growc.plan.plan import Change, Cost, Growth, InvariantRecord, Operation, Plan, Size, Stage, Tensors
from growc.records.folder import RunFolder
from growc.records.journal import Event, record
from growc.records.metrics import Row, append_rows

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
    plan = _plan(made)
    write_plan(plan, folder.plan)
    record(folder.journal, Event(time.time(), "run_started", ranks=4, layout="fsdp 4 x ep 2", device="cuda"))
    under_way = False
    for stage in plan.stages:
        folder.stage(stage.name).mkdir(parents=True)
        record(folder.journal, Event(time.time(), "stage_started", stage.name, kind=stage.kind))
        if stage.kind == "train":
            steps = made.steps // 3 if under_way else made.steps
            append_rows(folder.metrics(stage.name), _rows(stage, steps, draws))
            saved = Event(time.time(), "state_saved", stage.name, step=int(0.9 * made.steps), state="stable")
            record(folder.journal, saved)
        if under_way:
            break
        write_json(folder.result(stage.name), _result(stage, made, draws))
        folder.checkpoint(stage.name).mkdir()
        record(folder.journal, Event(time.time(), "stage_finished", stage.name))
        under_way = stage.name == made.through
    spread_times(folder.journal)
    if not made.through:
        write_json(folder.summary, _summary(made, plan))
    return path


def _plan(made: Made) -> Plan:
    first, grow, last = made.stages
    stages = [
        planned_stage(first, (), made, grown=False),
        planned_stage(grow, (f"{first}.stable",), made, grown=True, grows=True),
        planned_stage(last, (grow,), made, grown=True),
    ]
    if "fixed_source" in made.arms:
        stages.append(planned_stage(f"fixed_source/{last}", (f"{first}.stable",), made, grown=False))
    if "fixed_target" in made.arms:
        stages.append(planned_stage(f"fixed_target/{first}", (), made, grown=True))
        stages.append(planned_stage(f"fixed_target/{last}", (f"fixed_target/{first}.stable",), made, grown=True))
    return Plan(
        name=made.name,
        spec_path="/specs/upcycle.growth.yaml",
        spec_text="",
        overrides=(f"stages[0].train.steps={made.steps}",),
        hashes={"spec": "1f" * 32, "source": "2e" * 32, "code": "3d" * 32},
        values=made.values,
        source=f"config in the spec: glm4_moe, {made.layers + 1} layers, {made.layers} with {made.experts} experts",
        stages=tuple(stages),
        growth=(planned_growth(made),),
        cost=Cost(train_tokens={}, train_flops={}),
        diagnostics=(),
        invariants=(
            InvariantRecord(
                name="active_flops",
                stage=grow,
                status="held",
                value=0.0014,
                limit=0.005,
                detail="all of it is the router",
            ),
            InvariantRecord(name="loss", stage=grow, status="to_measure", value=None, limit=1e-5),
            InvariantRecord(name="total_params", stage=last, status="held", value=8.49e6, limit=14e9),
        ),
    )


def _size(made: Made, *, grown: bool) -> Size:
    experts = made.experts * (2 if grown else 1)
    expert, dense = 98_304 * made.layers, 1_400_000 + 200_000 * made.layers
    router = 2.0 * 128 * experts * made.layers
    return Size(
        total_params=dense + expert * experts,
        active_params=dense + expert * made.top_k,
        flops_per_token=2.0 * (dense + expert * made.top_k) + router,
        router_flops_per_token=router,
        layers=made.layers + 1,
        moe_layers=made.layers,
        experts=experts,
        top_k=made.top_k,
    )


def planned_stage(name: str, start: tuple[str, ...], made: Made, *, grown: bool, grows: bool = False) -> Stage:
    operation = Operation(
        op="expert_upcycling",
        sites=tuple(f"model.layers.{layer}.mlp" for layer in range(1, made.layers + 1)),
        preserves="nearly" if made.free else "exactly",
        tensors=Tensors(created=0, reshaped=4 * made.layers, copied=6 * made.layers + 3, dropped=0),
    )
    return Stage.model_validate(
        {
            "name": name,
            "kind": "grow" if grows else "train",
            "from": start,
            "steps": 0 if grows else made.steps,
            "tokens": 0 if grows else made.steps * BATCH,
            "model": _size(made, grown=grown),
            "operators": (operation,) if grows else (),
        }
    )


def planned_growth(made: Made) -> Growth:
    experts, tensors = made.experts, {
        "mlp.gate.weight": (128,), "mlp.gate.e_score_correction_bias": (), "mlp.experts.gate_up_proj": (256, 128),
        "mlp.experts.down_proj": (128, 128),
    }  # fmt: skip
    routing = "free" if made.free else "exclusive"
    return Growth(
        stage=made.stages[1],
        preserves="nearly" if made.free else "exactly",
        before=_size(made, grown=False),
        settings=(f"factor 2, routing {routing}, allocation uniform, optimizer_state reset_copies",),
        changes=(
            tuple(
                Change(
                    symbol="~",
                    name=f"model.layers.{{1-{made.layers}}}.{name}",
                    count=made.layers,
                    before=(experts, *shape),
                    after=(2 * experts, *shape),
                    program="take(old, copies, dim 0)",
                )
                for name, shape in tensors.items()
            ),
        ),
        k_eff=f"K_eff {made.top_k // 2}: plain top-{made.top_k} would reach {made.top_k // 2} distinct experts",
        loads="loads in stock transformers, as glm4_moe",
    )


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


def _rows(stage: Stage, steps: int, draws: random.Random) -> list[Row]:
    rows: list[Row] = []
    for step in range(1, steps + 1):
        share = step / stage.steps
        noise = draws.gauss(0, 0.03)
        speed = 61_000 * draws.uniform(0.9, 1.05) * (0.93 if (stage.model.experts or 0) > 8 else 1)
        loss = _loss(stage.name, share, False)
        rows.append(Row(step, step * BATCH, loss + noise, 1e-3, 1.0, tokens_per_second=speed, max_violation=0.5))
        if step % max(stage.steps // 8, 1) == 0:
            rows.append(Row(step, val_loss=loss))
    return rows


def _result(stage: Stage, made: Made, draws: random.Random) -> dict[str, Any]:
    name = stage.name
    spread = [0.3 * math.sin(1.7 * window) for window in range(WINDOWS)]
    layers = range(1, made.layers + 1)
    if stage.kind == "grow":
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
    experts = stage.model.experts or 0
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


def _summary(made: Made, plan: Plan) -> dict[str, Any]:
    both = len(made.arms) == 2
    return {
        "name": made.name,
        "stages": {stage.name: {} for stage in plan.stages},
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


def spread_times(journal: Path) -> None:
    """Give the events the times of a run of minutes."""
    lines, now = journal.read_text(encoding="utf-8").splitlines(), 1_795_370_810.0
    written: list[str] = []
    for line in lines:
        event = json.loads(line)
        now += {"stage_finished": 12.0, "state_saved": 52.0}.get(event["event"], 1.5) + (
            40.0 if event["event"] == "stage_finished" and event["stage"].endswith("upcycle") else 0.0
        )
        written.append(json.dumps(event | {"time": now}))
    journal.write_text("\n".join(written) + "\n", encoding="utf-8")

"""Run folders of sweeps in the run's own format, made without training anything."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from growc.files.atomic import write_json
from growc.plan.freeze import write_plan
from growc.plan.plan import Cost, InvariantRecord, Plan, Stage, Sweep
from growc.records.folder import RunFolder
from growc.records.journal import Event, record
from growc.records.metrics import Row, append_rows
from tests.report.folders import BATCH, WINDOWS, Made, planned_growth, planned_stage, spread_times

SHOCK = {"free": 0.31, "exclusive": 0.0, "split": 0.19}
FINAL = {"free": 0.021, "exclusive": 0.026, "split": 0.012, "fixed_source": 0.045, "fixed_target": -0.02}
"""Nats above 2.2 at the end."""


@dataclass(frozen=True)
class MadeSweep:
    """What a made sweep is like. `validations` are those of each stage; only `done` of the stages have ended."""

    name: str = "routing"
    arms: tuple[str, ...] = ("free", "exclusive", "split")
    seeds: tuple[int, ...] = (0, 1, 2)
    controls: tuple[str, ...] = ("fixed_source", "fixed_target")
    steps: int = 120
    validations: int = 12
    done: int | None = None
    learned: bool = True

    @property
    def made(self) -> Made:
        """The run that every point is."""
        return Made(name=self.name, steps=self.steps)


def make_sweep(path: Path, sweep: MadeSweep | None = None) -> Path:
    """Write a run folder at `path`."""
    sweep = sweep or MadeSweep()
    folder = RunFolder(path)
    path.mkdir(parents=True)
    plan = _plan(sweep)
    write_plan(plan, folder.plan)
    record(folder.journal, Event(time.time(), "run_started", ranks=2, layout="fsdp 2", device="cpu"))
    results: dict[str, dict[str, Any]] = {}
    for stage in plan.stages[: sweep.done]:
        folder.stage(stage.name).mkdir(parents=True)
        record(folder.journal, Event(time.time(), "stage_started", stage.name, kind=stage.kind))
        if stage.kind == "train":
            append_rows(folder.metrics(stage.name), list(_rows(stage, sweep)))
            saved = Event(time.time(), "state_saved", stage.name, step=int(0.9 * sweep.steps), state="stable")
            record(folder.journal, saved)
        results[stage.name] = _result(stage, sweep)
        write_json(folder.result(stage.name), results[stage.name])
        folder.checkpoint(stage.name).mkdir()
        record(folder.journal, Event(time.time(), "stage_finished", stage.name))
    spread_times(folder.journal)
    if sweep.done is None:
        write_json(folder.summary, _summary(sweep, plan, results))
    return path


def _plan(sweep: MadeSweep) -> Plan:
    made = sweep.made
    stages: list[Stage] = []
    growths: list[str] = []
    for seed in sweep.seeds:
        trunk = f"seed={seed}/pretrain"
        stages.append(planned_stage(trunk, (), made, grown=False))
        for arm in sweep.arms:
            at = f"seed={seed},arm={arm}"
            stages.append(planned_stage(f"{at}/upcycle", (f"{trunk}.stable",), made, grown=True, grows=True))
            stages.append(planned_stage(f"{at}/cpt", (f"{at}/upcycle",), made, grown=True))
            growths.append(f"{at}/upcycle")
        if "fixed_source" in sweep.controls:
            name = f"seed={seed}/fixed_source/cpt"
            stages.append(planned_stage(name, (f"{trunk}.stable",), made, grown=False))
        if "fixed_target" in sweep.controls:
            at = f"seed={seed}/fixed_target"
            stages.append(planned_stage(f"{at}/pretrain", (), made, grown=True))
            stages.append(planned_stage(f"{at}/cpt", (f"{at}/pretrain.stable",), made, grown=True))
    points = len(sweep.arms) * len(sweep.seeds)
    return Plan(
        name=sweep.name,
        spec_path="/specs/routing.growth.yaml",
        spec_text="",
        overrides=(),
        hashes={"spec": "1f" * 32, "source": "2e" * 32, "code": "3d" * 32},
        values={"growth": 1, "name": sweep.name, "sweep": {"training.seed": list(sweep.seeds)}},
        source="config in the spec: glm4_moe, 5 layers, 4 with 8 experts",
        stages=tuple(stages),
        growth=tuple(
            planned_growth(made).model_copy(
                update={"stage": name, "settings": (f"factor 2, routing {name.partition('arm=')[2].split('/')[0]}",)}
            )
            for name in growths
        ),
        cost=Cost(train_tokens={}, train_flops={}),
        sweep=Sweep(
            axes={"seed": tuple(map(str, sweep.seeds)), "arm": sweep.arms},
            points=points,
            arms=points * (1 + len(sweep.controls)),
            saved_stages=points * 2,
            saved_tokens=0,
            saved_flops=0.0,
        ),
        diagnostics=(),
        invariants=tuple(
            InvariantRecord(name="active_flops", stage=name, status="held", value=0.0014, limit=0.005)
            for name in growths
        ),
    )


def _kind(name: str) -> str:
    """`free`, `fixed_source`, or `pretrain` for the trunk."""
    return next((key for key in FINAL if key in name), "pretrain")


def _seed(name: str) -> int:
    return int(name.partition("seed=")[2][0])


def _of_seed(seed: int) -> float:
    """What all arms of a seed have in common, in nats."""
    return 0.03 * math.sin(2.3 * seed)


def _loss(name: str, share: float, *, learned: bool = True) -> float:
    kind, seed = _kind(name), _seed(name)
    own = 0.002 * math.sin(17.0 * seed + len(name))
    annealed = 0.05 * max(0.0, (share - 0.9) / 0.1)
    if name.endswith("pretrain"):
        floor = 2.36 if kind == "fixed_target" else 2.42
        return floor + 3.1 * math.exp(-9 * share) + 0.08 * (1 - share) + _of_seed(seed) + own - annealed
    start = 2.5 + SHOCK.get(kind, -0.05 if kind == "fixed_target" else 0.0)
    end = 2.2 + (FINAL[kind] if learned else 0.0)
    settled = end + 0.05 + 0.12 * (1 - share)
    return settled + (start - 2.37) * math.exp(-14 * share) * 0.6 + _of_seed(seed) + own - annealed


def _rows(stage: Stage, sweep: MadeSweep) -> Iterator[Row]:
    draws = random.Random(stage.name)
    every = sweep.steps // sweep.validations if sweep.validations else sweep.steps
    for step in range(1, sweep.steps + 1):
        loss = _loss(stage.name, step / sweep.steps, learned=sweep.learned)
        noisy, speed = loss + draws.gauss(0, 0.03), 61_000 * draws.uniform(0.9, 1.05)
        yield Row(step, step * BATCH, noisy, 1e-3, 1.0, tokens_per_second=speed, max_violation=0.5)
        if step % every == 0:
            yield Row(step, val_loss=loss)


def _result(stage: Stage, sweep: MadeSweep) -> dict[str, Any]:
    spread = [0.3 * math.sin(1.7 * window) for window in range(WINDOWS)]
    draws = random.Random(stage.name)
    if stage.kind == "grow":
        before = [2.5 + _of_seed(_seed(stage.name)) + s for s in spread]
        after = [b + SHOCK[_kind(stage.name)] for b in before]
        predicted = [b + SHOCK["free"] for b in before]
        return {"val_losses_before": before, "val_losses": after, "predicted_val_losses": predicted,
                "k_eff": dict.fromkeys(range(1, 5), 1.1), "operators": [], "seconds": 9.0}  # fmt: skip
    final = _loss(stage.name, 1.0, learned=sweep.learned)
    grown = _kind(stage.name) in SHOCK
    return {
        "val_losses": [final + s + draws.gauss(0, 0.004) for s in spread],
        "load": {layer: [int(4000 * draws.lognormvariate(0, 0.5)) for _ in range(16)] for layer in range(1, 5)},
        "sibling_cosine": {layer: 0.9 + 0.01 * draws.random() for layer in range(1, 5)} if grown else {},
    }


def _summary(sweep: MadeSweep, plan: Plan, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    arms: list[dict[str, Any]] = []
    for seed in sweep.seeds:
        ends = {name: f"seed={seed}/{name}/cpt" for name in sweep.controls}
        mean = {name: float(np.mean(results[end]["val_losses"])) for name, end in ends.items()}
        for label in sweep.arms:
            for name in ("main", *sweep.controls):
                end = f"seed={seed},arm={label}/cpt" if name == "main" else ends[name]
                loss = float(np.mean(results[end]["val_losses"]))
                point = {"seed": str(seed), "arm": label}
                arm: dict[str, Any] = {"point": point, "arm": name, "end": end, "seed": seed, "val_loss": loss}
                if name == "fixed_target" and "fixed_source" in mean:
                    arm["vs_source"] = loss - mean["fixed_source"]
                if name == "main":
                    arm |= _grown(seed, label, loss, ends, mean, results)
                arms.append(arm)
    groups = [
        _group(sweep, [arm for arm in arms if (arm["point"]["arm"], arm["arm"]) == (label, name)], arms)
        for label in sweep.arms
        for name in ("main", *sweep.controls)
    ]
    why = {"eta": None, "saving": None, "noise": None, "why_null": "a sweep: see arms and groups"}
    return {"name": sweep.name, "stages": {stage.name: {} for stage in plan.stages}, "comparison": why,
            "invariants": [], "arms": arms, "groups": groups}  # fmt: skip


def _grown(
    seed: int, label: str, loss: float, ends: dict[str, str], mean: dict[str, float], results: dict[str, Any]
) -> dict[str, Any]:
    growth = results[f"seed={seed},arm={label}/upcycle"]
    return {
        "controls": ends,
        "vs_source": loss - mean["fixed_source"] if "fixed_source" in mean else None,
        "val_loss_before_growth": float(np.mean(growth["val_losses_before"])),
        "val_loss_after_growth": float(np.mean(growth["val_losses"])),
        "predicted_val_loss": float(np.mean(growth["predicted_val_losses"])),
        "tokens_to_pass_source": 300_000 + 10_000 * seed if label != "exclusive" or seed else None,
        "sibling_cosine": {1: 0.91, 2: 0.93},
        "load": {1: {"max_over_mean": 2.1, "dead": 0}, 2: {"max_over_mean": 3.4, "dead": 2}},
        "theorem": {"phi": 0.47, "capacity_term": 0.03, "init_term": {1: 0.31, 2: 0.28}},
    }


def _group(sweep: MadeSweep, arms: list[dict[str, Any]], everyone: list[dict[str, Any]]) -> dict[str, Any]:
    losses = np.array([arm["val_loss"] for arm in arms])
    found: dict[str, Any] = {
        "point": {"arm": arms[0]["point"]["arm"]}, "arm": arms[0]["arm"], "n": len(arms),
        "seeds": [arm["seed"] for arm in arms], "ends": [arm["end"] for arm in arms],
        "val_loss": losses.mean(), "val_loss_se": _error(losses),
    }  # fmt: skip
    for control, key in (("fixed_source", "vs_source"), ("fixed_target", "vs_target")):
        theirs = [next((a for a in everyone if (a["seed"], a["arm"]) == (arm["seed"], control)), None) for arm in arms]
        known = [each for each in theirs if each is not None]
        if known and arms[0]["arm"] != control:
            apart = losses - np.array([each["val_loss"] for each in known])
            found |= {key: apart.mean(), f"{key}_se": _error(apart)}
    if arms[0]["arm"] != "main":
        return found | {"why_null": "a control"}
    if len(sweep.controls) < 2:
        return found | {"why_null": "eta needs both controls: there is no fixed_target: add it to baselines"}
    if not sweep.learned:
        return found | {"why_null": "the controls differ by 0.0002 nats, under 3 times the noise (0.0011 over 3 seeds)"}
    return found | {
        "eta": -found["vs_source"] / 0.065,
        "eta_se": 0.04 if len(arms) > 1 else None,
        "saving": 0.21,
        "sunk_saving": 0.6,
    }


def _error(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None

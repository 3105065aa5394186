"""Results and finished run folders, made up: what collects and renders them reads no more than this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from growc.files.atomic import write_json
from growc.files.versions import code_digest
from growc.plan.freeze import write_plan
from growc.plan.plan import Cost, Plan
from growc.records.folder import RunFolder
from growc.records.journal import Event, record

SOURCE, TARGET = 1.60, 1.55
SPREAD = (0.0, 0.01, -0.006)
"""Losses of the controls, and what each seed adds to all arms alike."""

MACHINE = {"cpu": "Some CPU", "cores": 2, "threads": 1, "versions": {"python": "3.12.1", "torch": "2.13.0"}}


def summary(
    axes: Mapping[str, Sequence[str]], final: Mapping[tuple[str, ...], float], seeds: int = 3, jump: float = 0.05
) -> dict[str, Any]:
    """`arms` and `groups` of a sweep: `final` has the losses of the points; controls are shared by all of them."""
    arms: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    for labels in product(*axes.values()):
        point = dict(zip(axes, labels, strict=True))
        for arm, loss in (("main", final[labels]), ("fixed_source", SOURCE), ("fixed_target", TARGET)):
            own = ",".join(f"{axis}={label}" for axis, label in point.items()) if arm == "main" else arm
            members = [_arm(point, arm, own, seed, loss, jump if arm == "main" else None) for seed in range(seeds)]
            arms += members
            groups.append(_group(point, arm, members))
    return {"arms": arms, "groups": groups}


def _arm(point: dict[str, str], arm: str, own: str, seed: int, loss: float, jump: float | None) -> dict[str, Any]:
    loss += SPREAD[seed] + (0.001 * seed if arm == "main" else 0.0)
    return {
        "point": {"seed": str(seed), **point},
        "arm": arm,
        "seed": seed,
        "end": f"seed={seed},{own}/cpt",
        "val_loss": loss,
        "tokens": 4_000_000,
        "eta_noise": 0.03,
        "vs_source": None if arm == "fixed_source" else loss - SOURCE - SPREAD[seed],
        "vs_source_noise": 0.0007,
        "vs_target": None if arm == "fixed_target" else loss - TARGET - SPREAD[seed],
        "vs_target_noise": 0.0008,
        "val_loss_before_growth": None if jump is None else 1.8 + SPREAD[seed],
        "val_loss_after_growth": None if jump is None else 1.8 + SPREAD[seed] + jump + 0.5 * (loss - SOURCE),
        "tokens_to_pass_source": None if jump is None or loss > SOURCE + SPREAD[seed] else 500_000 + 1000 * seed,
    }


def _group(point: dict[str, str], arm: str, members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def over(key: str) -> dict[str, float | None]:
        values = [member[key] for member in members]
        if None in values:
            return {key: None, f"{key}_se": None}
        return {key: mean(values), f"{key}_se": stdev(values) / len(values) ** 0.5 if len(values) > 1 else None}

    grown = arm == "main"
    return {
        "point": point,
        "arm": arm,
        "n": len(members),
        "seeds": [member["seed"] for member in members],
        "ends": [member["end"] for member in members],
        **over("val_loss"),
        **over("vs_source"),
        **over("vs_target"),
        "eta": mean(-member["vs_source"] for member in members) / (SOURCE - TARGET) if grown else None,
        "eta_se": 0.02 if grown and len(members) > 1 else None,
        "saving": 0.21 if grown else None,
        "sunk_saving": 0.5 if grown else None,
        "why_null": None if grown else "a control",
    }


def run_folder(path: Path, name: str, values: dict[str, Any], code: str | None = None) -> Path:
    """A finished run of the spec called `name`, with what `collect` reads; it was interrupted once."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    plan = Plan(
        name=name,
        spec_path=f"/somewhere/else/specs/expert_upcycling/{name}.growth.yaml",
        spec_text="",
        overrides=('sweep["training.seed"]=[0, 1]',),
        hashes={"spec": "1f" * 32, "source": "2e" * 32, "code": "3d" * 32},
        values={},
        source="inline config: glm4_moe, 2 layers",
        stages=(),
        growth=(),
        cost=Cost(train_tokens={"main": 8_000_000, "fixed_source": 4_000_000}, train_flops={}),
        diagnostics=(),
        invariants=(),
    )
    write_plan(plan, folder.plan)
    write_json(folder.summary, {"name": name, "stages": {}, "comparison": {}, "invariants": [], **values})
    _journal(folder.journal, code or code_digest())
    return path


def _journal(path: Path, ran: str) -> None:
    """Two sessions of 100 and 50 seconds of this code, with an hour between."""
    start = 1_795_370_810.0
    times = (start - 5, start, start + 100, start + 3695, start + 3700, start + 3750)
    data = Event(0.0, "data", content="3d")
    began = Event(0.0, "run_started", ranks=2, layout="fsdp 2, ep 1", device="cpu", machine=MACHINE, code=ran)
    events = (data, began, Event(0.0, "interrupted"), data, began, Event(0.0, "run_finished"))
    for event, time in zip(events, times, strict=True):
        record(path, replace(event, time=time))

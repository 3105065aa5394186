"""From finished runs of `specs/dense_to_moe/systems.growth.yaml` to results.

    python -m benchmarks.dense_to_moe.measure runs/systems [MORE RUNS]

Runs may hold some of the seeds or arms: what `results.json` has of the others stays, with its date; step times are
taken if there is a run with the arm that they are relative to. Writes that file; then
`python -m benchmarks.dense_to_moe.write` writes the report.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.dense_to_moe.routing import routing_of
from benchmarks.dense_to_moe.write import BASE, RESULTS
from growc.data import open_corpus
from growc.engine.losses import mean_loss
from growc.files.atomic import read_json, write_json
from growc.nn.auto import register
from growc.plan.freeze import read_plan
from growc.records.folder import RunFolder

WINDOWS = 64
"""Held-out windows that are routed."""

STEPS = 9
"""Training steps of every model that are timed, in turns."""


def main(folders: Sequence[Path], results: Path = RESULTS) -> None:
    """Measure all arms of finished runs."""
    arms: list[dict[str, Any]] = []
    timed: dict[str, Path] = {}
    today = datetime.now(UTC).date().isoformat()
    for path in folders:
        folder = RunFolder(path)
        plan, summary = read_plan(folder.plan), read_json(folder.summary)
        length = plan.values["data"]["sequence_length"]
        windows = torch.from_numpy(open_corpus(folder.data).validation.windows(length, WINDOWS))
        for arm in summary["arms"]:
            name = arm["point"]["arm"] if arm["arm"] == "main" else arm["arm"]
            checkpoint = folder.checkpoint(arm["end"])
            timed.setdefault(name, checkpoint)
            arms.append({
                "arm": name, "seed": arm["seed"], "date": today, "val_loss": arm["val_loss"], "tokens": arm["tokens"],
                "before": arm["val_loss_before_growth"], "after": arm["val_loss_after_growth"],
                "noise": arm["vs_source_noise"],
                "routing": None if arm["arm"] != "main" else asdict(routing_of(checkpoint, windows)),
            })  # fmt: skip
    before = read_json(results) if results.exists() else {"arms": [], "step_seconds": {}}
    measured = {(arm["arm"], arm["seed"]) for arm in arms}
    arms = [arm for arm in before["arms"] if (arm["arm"], arm["seed"]) not in measured] + arms
    seconds = before["step_seconds"]
    if BASE in timed:  # times compare in one run only
        seconds = step_seconds(timed, windows[:8])  # pyright: ignore[reportPossiblyUnboundVariable]
    write_json(results, {
        "machine": {"cpu": _cpu(), "threads": torch.get_num_threads(), "python": platform.python_version(),
                    "torch": torch.__version__},
        "arms": arms, "step_seconds": seconds,
    })  # fmt: skip
    print(results)


def step_seconds(checkpoints: dict[str, Path], batch: torch.Tensor) -> dict[str, float]:
    """Median seconds of a forward and backward pass of each model, in turns, so that other work hits all alike."""
    register()
    models: dict[str, PreTrainedModel] = {
        name: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for name, path in checkpoints.items()
    }
    taken: dict[str, list[float]] = {name: [] for name in models}
    for turn, (name, model) in itertools.product(range(STEPS + 1), models.items()):
        began = time.perf_counter()
        mean_loss(model, batch).backward()
        if turn:  # the first one warms up
            taken[name].append(time.perf_counter() - began)
        model.zero_grad()
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    main(parser.parse_args().runs)

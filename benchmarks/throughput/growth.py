"""A run with a growth in it from end to end, by the command line, on the devices that are there."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.throughput.setting import Setting
from growc.records.folder import RunFolder

STEPS = 20
"""In each of the two train stages."""


def grown_run(setting: Setting) -> str:
    """Train, double the experts, train on: how long it took, and the losses around the growth."""
    with tempfile.TemporaryDirectory() as place:
        spec = setting.spec(STEPS)
        grow = {"op": "expert_upcycling", "factor": 2, "routing": "exclusive", "router": {"init": "copy"}}
        spec["stages"] += [{"name": "upcycle", "grow": [grow]}, {"name": "on", "train": {"steps": STEPS}}]
        path = Path(place, "growth.growth.yaml")
        path.write_text(json.dumps(spec), encoding="utf-8")
        began = time.perf_counter()
        command = [sys.executable, "-m", "growc", "run", str(path), "--run-dir", f"{place}/run", "--nproc", "1"]
        subprocess.run(command, check=True)
        took = time.perf_counter() - began
        run = RunFolder(Path(place, "run"))
        grown = json.loads(run.result("upcycle").read_text(encoding="utf-8"))
        before, after = (statistics.mean(grown[key]) for key in ("val_losses_before", "val_losses"))
        first, last = (_rows(run.metrics(name)) for name in ("train", "on"))
    return (
        f"## A run with a growth in it, {setting.precision}\n\n`growc run`, {STEPS} steps, experts doubled, {STEPS} "
        f"steps: {took:.0f} s in all, {grown['seconds']:.1f} s of them for the growth. Validation loss {before:.4f} "
        f"before the growth and {after:.4f} after; training loss {first[0]:.3f} in the first step, {last[-1]:.3f} in "
        "the last.\n"
    )


def _rows(metrics: Path) -> list[float]:
    rows = map(json.loads, metrics.read_text(encoding="utf-8").splitlines())
    return [row["loss"] for row in rows if "loss" in row]

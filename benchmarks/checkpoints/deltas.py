"""Packing, measured: `python -m benchmarks.checkpoints.deltas FOLDER` on a disk with 20 GB free.

Makes a checkpoint in FOLDER whose experts are normal weights, and grows it to twice its experts by a byte plan. Fresh,
and after its copies were changed as much as three steps of AdamW at a learning rate of 1e-5 change weights, it is
packed, unpacked, and copied with `cp -r` by turns, everything synced to the disk. Prints sizes and medians. Run it on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.checkpoints.measure import TRIAL, Measured, run, warm
from benchmarks.checkpoints.synthetic import LIMIT, Shape, plan_doubling, stage, write_source
from growc.files.headers import read_header
from growc.files.layout import lay_out
from growc.files.plan import Plan

STD, CHANGE = 0.02, 1e-5 * 3**0.5
"""Standard deviations of weights, and of what training added to them."""

Wide = NDArray[np.float32]


def change_experts(folder: Path, change: Callable[[int, np.random.Generator, Wide], Wide | None]) -> None:
    """Replace the bf16 weights of every expert matrix by what `change` makes of its number and them, if anything."""
    for path in sorted(folder.glob("*.safetensors")):
        held: NDArray[Any] = np.memmap(path, dtype=np.uint8, mode="r+")
        for entry in read_header(path).tensors.values():
            expert = _expert(entry.name)
            if expert is None:
                continue
            wide = (held[entry.start : entry.end].copy().view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            changed = change(expert, np.random.default_rng(list(entry.name.encode())), wide)
            if changed is not None:
                bits = changed.view(np.uint32)
                rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
                held[entry.start : entry.end] = rounded.view(np.uint8)
        del held  # written


def normal(_: int, random: np.random.Generator, wide: Wide) -> Wide:
    """Weights as training has them."""
    return random.standard_normal(wide.size, np.float32) * np.float32(STD)


def trained(expert: int, random: np.random.Generator, wide: Wide) -> Wide | None:
    """Weights of a copy, after a few steps; originals stay."""
    if expert % 2 == 0:
        return None
    return np.add(wide, random.standard_normal(wide.size, np.float32) * np.float32(CHANGE), dtype=np.float32)


def plan_neighbours(folder: Path, experts: int) -> Plan:
    """Every expert twice, copies beside their originals, as growth orders them."""
    plan = plan_doubling(folder, experts)
    tensors = [tensor for output in plan.outputs for tensor in output.tensors]
    return replace(plan, outputs=lay_out((replace(t, name=_renumbered(t.name, experts)) for t in tensors), LIMIT))


def _expert(name: str) -> int | None:
    _, found, rest = name.partition(".experts.")
    return int(rest.partition(".")[0]) if found else None


def _renumbered(name: str, experts: int) -> str:
    number = _expert(name)
    if number is None:
        return name
    copy, original = divmod(number, experts)
    return name.replace(f".experts.{number}.", f".experts.{2 * original + copy}.")


def measure(folder: Path, shape: Shape, repeats: int, workers: int) -> dict[str, Measured]:
    """Packing, unpacking and copying on the file system of `folder`, which is emptied again."""
    work = folder / "growc-benchmark-deltas"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    found: dict[str, Measured] = {}
    try:
        write_source(work / "source", shape)
        change_experts(work / "source", normal)
        stage(work / "grown", plan_neighbours(work / "source", shape.experts))
        run(*TRIAL, "finish", str(work / "grown"), str(workers), "plain")
        siblings = {str(layer): [2] * shape.experts for layer in range(shape.layers)}
        (work / "grown/growth.json").write_text(json.dumps({"siblings": siblings}))
        for name in ("fresh", "trained"):
            if name == "trained":
                change_experts(work / "grown", trained)
            found[name] = _measured(work, repeats, workers)
            found[name]["source"] = [{"bytes": _size(work / "source")}]
        return found
    finally:
        shutil.rmtree(work)


def _measured(work: Path, repeats: int, workers: int) -> Measured:
    found: Measured = defaultdict(list)
    grown, packed, back, copied = (str(work / name) for name in ("grown", "packed", "back", "copied"))
    for _ in range(repeats):
        warm(work / "grown")
        copy = f"cp -r {shlex.quote(grown)} {shlex.quote(copied)} && sync {shlex.quote(copied)}/*"
        found["cp"].append(run("sh", "-c", copy))
        shutil.rmtree(copied)
        found["pack"].append(run(*TRIAL, "pack", grown, packed, str(workers)))
        found["unpack"].append(run(*TRIAL, "unpack", packed, back, str(workers)))
        run("diff", "-r", grown, back)
        found["size"].append({"grown": _size(work / "grown"), "packed": _size(work / "packed")})
        shutil.rmtree(packed)
        shutil.rmtree(back)
    return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def show(name: str, found: Measured) -> None:
    """One line for the sizes, and one for each thing that was timed."""
    grown, packed = (found["size"][0][key] for key in ("grown", "packed"))
    source = found["source"][0]["bytes"]
    print(f"{name}: {grown / 1e9:.3f} GB packed in {packed / 1e9:.3f} GB, {packed / grown:.3f} of it;", end=" ")
    print(f"the source has {source / 1e9:.3f} GB")
    cp = median(each["seconds"] for each in found["cp"])
    for what in ("cp", "pack", "unpack"):
        seconds, cpu = (median(each[key] for each in found[what]) for key in ("seconds", "cpu_seconds"))
        peak = max(each.get("peak_bytes", 0) for each in found[what]) / 2**20
        memory = f", at most {peak:.0f} MiB of memory" if peak else ""
        print(f"  {what}: {seconds:.2f} s, {seconds / cp:.2f} of cp, {grown / seconds / 1e9:.2f} GB/s,", end=" ")
        print(f"{cpu:.2f} s of CPU{memory}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    for name, value in asdict(Shape()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    shape = Shape(**{name: getattr(given, name) for name in asdict(Shape())})
    for name, found in measure(given.folder, shape, given.repeats, given.workers).items():
        show(name, found)


if __name__ == "__main__":
    main()

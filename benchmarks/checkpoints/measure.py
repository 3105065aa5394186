"""Moving bytes, measured: `python -m benchmarks.checkpoints.measure FOLDER` on a disk with 10 GB free.

Makes a checkpoint in FOLDER, grows it from 64 to 128 experts again and again by its byte plan, copies the same bytes
with `cp -r` in between, and writes `results.json` and `RESULTS.md`. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import noise, xfs
from benchmarks.checkpoints.synthetic import Shape, plan_doubling, stage, write_source
from benchmarks.checkpoints.write import HERE, write_report
from growc.files.atomic import write_json
from growc.files.plan import Plan

TRIAL = (sys.executable, "-m", "benchmarks.checkpoints.trial")

Measured = dict[str, list[dict[str, float]]]


@dataclass
class Bench:
    """A checkpoint in a folder, what it grows into, and the measurements so far, by name."""

    folder: Path
    workers: int
    plan: Plan
    found: Measured = field(default_factory=lambda: defaultdict(list))

    @property
    def source(self) -> Path:
        """The checkpoint."""
        return self.folder / "source"

    @property
    def tensors(self) -> int:
        """Of the grown checkpoint."""
        return sum(len(output.tensors) for output in self.plan.outputs)

    @property
    def whole(self) -> Path:
        """The grown checkpoint that `cp` copies."""
        return self.folder / "whole"

    def grow(self, name: str, before: Callable[[Path], None], *, verified: bool = False) -> None:
        """Measure one growth."""
        to = self.folder / "grown"
        stage(to, self.plan)
        before(self.source)
        free = shutil.disk_usage(self.folder).free
        self._measure(name, *TRIAL, "finish", str(to), str(self.workers), "verified" if verified else "plain")
        self.found[name][-1]["disk_bytes"] = free - shutil.disk_usage(self.folder).free
        if verified:
            self._measure("verify again", *TRIAL, "verify", str(to), str(self.workers))
        shutil.rmtree(to)

    def copy(self, name: str, before: Callable[[Path], None]) -> None:
        """Measure `cp -r` of the grown bytes."""
        to = self.folder / "copied"
        before(self.whole)
        whole, copied = shlex.quote(str(self.whole)), shlex.quote(str(to))
        self._measure(name, "sh", "-c", f"cp -r {whole} {copied} && sync {copied}/* {copied} {copied}/..")
        shutil.rmtree(to)

    def _measure(self, name: str, *command: str) -> None:
        found = run(*command)
        self.found[name].append(found)
        print(f"{name}: {found['seconds']:.2f} s, {found['cpu_seconds']:.2f} s of CPU", flush=True)


def run(*command: str) -> dict[str, float]:
    """Run a command; its seconds from start to end, its CPU seconds, and what it prints as JSON."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if child.returncode:
        sys.exit(f"{shlex.join(command)} ended with {child.returncode}")
    own: dict[str, float] = json.loads(printed) if printed else {}
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, **own}


def warm(folder: Path) -> None:
    """Bring the weight files of a folder into memory."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass


def cold(folder: Path) -> None:
    """Drop the weight files of a folder from memory; they are on the disk."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(folder: Path, shape: Shape, repeats: int, workers: int) -> Measured:
    """All measurements on the file system of `folder`, which is emptied again."""
    work = folder / "growc-benchmark"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        write_source(work / "source", shape)
        bench = Bench(work, workers, plan_doubling(work / "source", shape.experts))
        stage(bench.whole, bench.plan)
        run(*TRIAL, "finish", str(bench.whole), str(workers), "plain")
        for _ in range(repeats):
            for name, before in (("warm", warm), ("cold", cold)):
                bench.copy(f"cp {name}", before)
                bench.grow(f"grow {name}", before)
            bench.grow("grow and verify warm", warm, verified=True)
        return {**bench.found, "checkpoint": [{"bytes": bench.plan.size, "tensors": bench.tensors}]}
    finally:
        shutil.rmtree(work)


def measure_planning(folder: Path) -> Measured:
    """The plan of a very large growth, made, written and read."""
    place = folder / "growc-benchmark-plan"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        return {what: [run(*TRIAL, what, str(place))] for what in ("plan", "read")}
    finally:
        shutil.rmtree(place)


def machine() -> dict[str, Any]:
    """What it was measured on."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].split(":", 1)[1].strip() if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cp": subprocess.run(["cp", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0],
        "load": os.getloadavg()[0],
    }


def file_system(folder: Path) -> str:
    """Its type, as `stat` names it."""
    return subprocess.run(
        ["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--into", type=Path, default=HERE, help="where results.json and RESULTS.md go")
    for name, value in asdict(Shape()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    shape = Shape(**{name: getattr(given, name) for name in asdict(Shape())})
    given.folder.mkdir(parents=True, exist_ok=True)
    today = datetime.now(UTC).date().isoformat()
    results: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks.checkpoints.measure", *sys.argv[1:]]),
        "date": today,
        "machine": machine() | {"workers": given.workers},
        "shape": asdict(shape),
        "file_systems": {file_system(given.folder): measure(given.folder, shape, given.repeats, given.workers)},
        "planning": measure_planning(given.folder),
        "noise": {"date": today, "ways": noise.measured(1 << 24, os.cpu_count() or 1, 9)},
    }
    if (why := xfs.missing()) is None:
        with xfs.mounted(given.folder) as place:
            results["file_systems"]["xfs"] = measure(place, shape, given.repeats, given.workers)
    else:
        results["without_xfs"] = why
    given.into.mkdir(parents=True, exist_ok=True)
    write_json(given.into / "results.json", results)
    write_report(results, given.into / "RESULTS.md")
    print(given.into / "RESULTS.md")


if __name__ == "__main__":
    main()

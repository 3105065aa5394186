"""One measurement in a process of its own: `python -m benchmarks.checkpoints.trial WHAT ...`; prints JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from growc.files.move import finish
from growc.files.planfile import read_plan, write_plan
from growc.files.staging import open_staging
from growc.files.verify import verify


def main(what: str, *arguments: str) -> None:
    """Run it, and print its peak memory in bytes beside what it measured itself."""
    trials: dict[str, Callable[..., dict[str, float]]] = {
        "finish": _finish, "verify": _verify, "plan": _plan, "read": _read, "pack": _pack, "unpack": _unpack
    }  # fmt: skip
    found = trials[what](*arguments)
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps({"peak_bytes": peak, **found}))


def _finish(to: str, workers: str, verified: str) -> dict[str, float]:
    with open_staging(Path(to)) as (aside, resumed):
        assert resumed
        finish(aside, Path(to), workers=int(workers), verify=verified == "verified")
    return {}


def _verify(folder: str, workers: str) -> dict[str, float]:
    return {"tensors": verify(Path(folder), workers=int(workers)).tensors}


def _pack(folder: str, to: str, workers: str) -> dict[str, float]:
    from growc.checkpoint.packing import pack

    sizes, warnings = pack(Path(folder), Path(to), workers=int(workers))
    assert not warnings
    return {"packed_bytes": sizes.packed}


def _unpack(folder: str, to: str, workers: str) -> dict[str, float]:
    from growc.files.packing.unpack import unpack

    return {"bytes": unpack(Path(folder), Path(to), workers=int(workers))}


def _plan(folder: str) -> dict[str, float]:
    from benchmarks.checkpoints.synthetic import kimi_k2

    began = time.perf_counter()
    plan = kimi_k2()
    made = time.perf_counter()
    write_plan(Path(folder), plan)
    written = time.perf_counter()
    count = sum(len(output.tensors) for output in plan.outputs)
    return {"tensors": count, "make_seconds": made - began, "write_seconds": written - made}


def _read(folder: str) -> dict[str, float]:
    began = time.perf_counter()
    plan = read_plan(Path(folder))
    return {"tensors": sum(len(o.tensors) for o in plan.outputs), "read_seconds": time.perf_counter() - began}


if __name__ == "__main__":
    main(*sys.argv[1:])

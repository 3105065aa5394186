"""What every operator makes of fixed tensors, recorded: a change of it must come with a new version.

`python -m tests.battery.golden` records what operators make today in `golden.json`, to be committed with the versions
that were raised: `Operator.version`, or an entry of `growc.files.versions.MEANING` where several are concerned.

A record has a number for weights and for each moment: the sum over all tensors of their products with other fixed
numbers. Machines differ in the last bits of a sum, so two of them are the same within 1e-9.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from growc.anatomy.model_graph import TensorInfo
from growc.checks.twin import bind_at_random
from growc.files.versions import MEANING
from growc.numerics.evaluate import InMemory, evaluate
from growc.operators import OPERATORS, operator
from growc.programs import Expr, shape
from tests.battery.case import Case
from tests.battery.cases import CASES

RECORD = Path(__file__).parent / "golden.json"
CLOSE = 1e-9


def golden_cases(op: str) -> dict[str, Case]:
    """Every example of an operator, on the first family of the battery that has it."""
    found: dict[str, Case] = {}
    for case in CASES:
        if case.op == op and not case.axes:
            found.setdefault(case.name, case)
    return found


def fingerprint(case: Case) -> dict[str, float]:
    """The numbers of one case: `weights`, `first` and `second`."""
    step = bind_at_random(case.rewritten(), 0).rewrite
    tensors = {name: _fixed(name, tensor) for name, tensor in step.read.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    of_weights, of_moments = InMemory(tensors), InMemory({name: tensor.abs() for name, tensor in tensors.items()})
    found = {"weights": 0.0, "first": 0.0, "second": 0.0}

    def add(kind: str, name: str, program: Expr | None, fetch: InMemory) -> None:
        if program is not None:
            rows = torch.arange((*shape(program, shapes), 1)[0])
            made = evaluate(program, rows, fetch, torch.float64).double()
            found[kind] += float((made.flatten() * _numbers(f"{name}/{kind}", made.numel())).sum())

    for name, program in step.programs.items():
        add("weights", name, program, of_weights)
        add("first", name, step.moments[name].first, of_weights)
        add("second", name, step.moments[name].second, of_moments)
    return found


def changed(op: str) -> list[str]:
    """The examples of an operator that give other numbers than those recorded, or are not recorded."""
    known: dict[str, dict[str, float]] = recorded()["operators"].get(op, {"cases": {}})["cases"]
    made = {name: fingerprint(case) for name, case in golden_cases(op).items()}
    return [name for name in known.keys() | made.keys() if not _same(known.get(name), made.get(name))]


def recorded() -> dict[str, Any]:
    """The record: versions of packages under `meaning`, and `version` and `cases` of every operator."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def record() -> None:
    """Write what operators make today."""
    made = {
        op: {
            "version": operator(op).version,
            "cases": {name: fingerprint(case) for name, case in golden_cases(op).items()},
        }
        for op in sorted(OPERATORS)
    }
    RECORD.write_text(json.dumps({"meaning": MEANING, "operators": made}, indent=1) + "\n", encoding="utf-8")


def _same(one: dict[str, float] | None, other: dict[str, float] | None) -> bool:
    if one is None or other is None:
        return False
    return all(abs(one[kind] - other[kind]) <= CLOSE * max(1.0, abs(one[kind])) for kind in one)


def _fixed(name: str, tensor: TensorInfo) -> Tensor:
    numbers = _numbers(name, tensor.size)
    own: torch.dtype = getattr(torch, tensor.dtype)
    return (numbers if own.is_floating_point else torch.arange(tensor.size, dtype=own)).view(tensor.shape)


def _numbers(name: str, count: int) -> Tensor:
    """Fixed numbers of about 1, others for every name."""
    return torch.from_numpy(np.random.default_rng(zlib.crc32(name.encode())).uniform(-2, 2, count))


if __name__ == "__main__":
    record()

"""The rooms behind `growc --help`, completion and the schema leave heavy libraries unloaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "numpy", "networkx", "matplotlib", "rich")


@pytest.mark.parametrize(
    "room",
    [
        "growc",
        "growc.diagnostics",
        "growc.programs",
        "growc.operators",
        "growc.spec",
        "growc.files.move",
        "growc.checkpoint.packing",
        "growc.files.packing.unpack",
    ],
)
def test_light_rooms_stay_light(room: str) -> None:
    program = f"import sys, {room}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_operator_and_the_schema_stay_light() -> None:
    program = f"import sys, growc.spec; growc.spec.json_schema(); print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

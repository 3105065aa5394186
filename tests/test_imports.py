"""The rooms behind `growc --help`, completion and the schema leave heavy libraries unloaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

HEAVY = ("torch", "transformers", "numpy", "networkx", "matplotlib", "rich")

PROGRAMS = {
    **{
        room: f"import {room}"
        for room in (
            "growc",
            "growc.diagnostics",
            "growc.programs",
            "growc.operators",
            "growc.spec",
            "growc.files.move",
            "growc.checkpoint.packing",
            "growc.files.packing.unpack",
        )
    },
    "every operator and the schema": "import growc.spec; growc.spec.json_schema()",
}
EACH_IN_A_FORK = """
import json, os, sys
heavy, programs = json.load(sys.stdin)
for name, program in programs.items():
    if not os.fork():
        exec(program)
        print(json.dumps({name: [module for module in heavy if module in sys.modules]}), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """What each program loads of the heavy libraries, by one interpreter that has imported nothing before."""
    given, command = json.dumps((HEAVY, PROGRAMS)), [sys.executable, "-c", EACH_IN_A_FORK]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    assert not done.stderr
    return {name: found for line in done.stdout.splitlines() for name, found in json.loads(line).items()}


@pytest.mark.parametrize("program", PROGRAMS)
def test_light_rooms_stay_light(loaded: dict[str, list[str]], program: str) -> None:
    assert loaded[program] == []

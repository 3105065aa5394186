"""Every example runs, and says what the library says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM

from growc.model.build import load_config
from tests.families import FAMILIES

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_cost_of_duplication(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(load_config(FAMILIES["glm4_moe"])).save_pretrained(tmp_path / "model")
    command = [
        sys.executable,
        EXAMPLES / "cost_of_duplication.py",
        tmp_path / "model",
        Path(__file__).parent / "families.py",
    ]
    seen = subprocess.run(command, capture_output=True, text=True, check=False)
    assert seen.returncode == 0, seen.stderr
    assert "with every expert doubled" in seen.stdout
    assert "{1: 1.0, 2: 1.0}" in seen.stdout


def test_every_example_has_a_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{example.name}"' in text for example in EXAMPLES.glob("*.py"))

"""Every example runs, and says what the library says."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from growc.model.build import load_config
from tests.families import FAMILIES

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_cost_of_duplication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    AutoModelForCausalLM.from_config(load_config(FAMILIES["glm4_moe"])).save_pretrained(tmp_path / "model")
    example = EXAMPLES / "cost_of_duplication.py"
    monkeypatch.setattr(
        sys, "argv", list(map(str, (example, tmp_path / "model", Path(__file__).parent / "families.py")))
    )
    runpy.run_path(str(example), run_name="__main__")
    printed = capsys.readouterr().out
    assert "with every expert doubled" in printed
    assert "{1: 1.0, 2: 1.0}" in printed


def test_every_example_has_a_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{example.name}"' in text for example in EXAMPLES.glob("*.py"))

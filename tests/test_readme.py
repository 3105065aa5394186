"""What the README shows is what growc does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from growc.spec import load
from tests.command_line import growc

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_spec_is_one(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 1
    assert len(blocks[0].splitlines()) <= 10
    path = tmp_path / "readme.growth.yaml"
    path.write_text(blocks[0], encoding="utf-8")
    assert load(path).spec.stages[0].name == "upcycle"


def test_the_plan_is_the_one_that_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = re.search(r"```text\n(quickstart\n.*?)```", TEXT, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == growc("plan", "specs/quickstart.growth.yaml").stdout.strip()


def test_commands_and_files_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.findall(r"^    make (\S+)", TEXT, re.MULTILINE):
        assert f"{name}:" in makefile

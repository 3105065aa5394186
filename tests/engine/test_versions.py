"""The versions of torch that growc works with, and what differs between them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from growc.engine.layout import Layout
from growc.engine.versions import gathered
from growc.files import versions
from tests.command_line import growc
from tests.engine.ranks import on_ranks
from tests.small import spec

ROOT = Path(__file__).parents[2]


def test_the_package_asks_for_these_versions() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert [each for each in declared if each.startswith("torch")] == [versions.requirement()]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    assert [_minor(pin.removeprefix("torch==")) for pin in pins] == [(versions.UNTRIED[0], versions.UNTRIED[1] - 1)]
    assert versions.OLDEST <= _minor(torch.__version__) < versions.UNTRIED


def _minor(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


@pytest.mark.parametrize("installed", ["2.6.0", "2.10.1+cpu", "1.99"])
def test_an_older_one_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str) -> None:
    monkeypatch.setattr(versions, "version", lambda _: installed)
    done = growc("check", spec(tmp_path))
    assert done.exit_code == 2
    assert "GROW634" in done.stderr
    assert installed in done.stderr
    assert versions.requirement() in done.stderr


@pytest.mark.parametrize("installed", ["2.11.0", "2.11.0a0+git1234567", "2.13.0+cpu", "2.14.0", "3.0"])
def test_no_other_is(monkeypatch: pytest.MonkeyPatch, installed: str) -> None:
    monkeypatch.setattr(versions, "version", lambda _: installed)
    versions.hold_torch()


def ranks_in_turn(layout: Layout) -> Any:
    """What two ranks hold, one after the other."""
    return gathered(torch.arange(2) + 2 * dist.get_rank()).tolist()


@pytest.mark.slow
@pytest.mark.process
def test_all_ranks_have_what_each_had(tmp_path: Path) -> None:
    assert on_ranks(ranks_in_turn, Layout(2, 1), tmp_path) == [0, 1, 2, 3]

"""The second `growc check` of a spec of which nothing has changed: the same answer, without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from growc.cli.options import FORMATS
from growc.files import cache
from tests.command_line import growc
from tests.families import FAMILIES
from tests.small import spec


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def _answers(place: Path) -> int:
    return len(list(place.glob("answers/*")))


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_second_answer_is_the_first(tmp_path: Path, place: Path, output_format: str) -> None:
    tight = {"active_flops": {"max_change": 1e-9}, "loss": {"max_increase": 1e-5}, "total_params": {"max": 1e6}}
    words = ("check", spec(tmp_path, invariants=tight), "--output-format", output_format)
    first = growc(*words)
    assert first.exit_code == 1
    assert _answers(place) == 1
    again = growc(*words)
    assert (again.exit_code, again.output) == (first.exit_code, first.output)
    assert _answers(place) == 1


@pytest.mark.process
def test_the_second_answer_needs_no_torch(tmp_path: Path) -> None:
    path = spec(tmp_path)
    first = growc("check", path)
    program = (
        "import sys\nfrom growc.cli.main import main\n"
        "try: main(['check', sys.argv[1]])\n"
        "finally: print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{first.stdout}[]\n"


@pytest.mark.parametrize("what", ["spec", "config", "override", "version"])
def test_what_has_changed_is_checked_anew(
    tmp_path: Path, place: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(FAMILIES["qwen3_moe"]))
    path = spec(tmp_path, model={"config": "config.json"})
    first, override = growc("check", path), ()
    assert "no findings" in first.stdout
    match what:
        case "spec":
            path.write_text(path.read_text().replace("max: 1000000.0", "max: 1000"))
        case "config":
            (tmp_path / "config.json").write_text(json.dumps(FAMILIES["qwen3_moe"] | {"hidden_size": 1024}))
        case "override":
            override = ("--set", "invariants.total_params.max=1000")
        case _:
            monkeypatch.setattr("growc.cli.answers.versions", lambda: {"torch": "another"})
    again = growc("check", path, *override)
    if what == "version":
        assert again.output == first.output
        assert _answers(place) == 2
    else:
        assert "GROW404" in again.output, again.output
        assert again.exit_code == 1


def test_a_model_folder_that_has_changed_is_checked_anew(tmp_path: Path, place: Path) -> None:
    from transformers import AutoModelForCausalLM

    from growc.model.build import load_config

    model = AutoModelForCausalLM.from_config(load_config(FAMILIES["qwen3_moe"]))
    model.save_pretrained(tmp_path / "model")
    path = spec(tmp_path, model={"path": "model"})
    first = growc("check", path)
    assert growc("check", path).output == first.output
    assert _answers(place) == 1
    (tmp_path / "model/adapter_config.json").write_text("{}")
    assert "GROW215" in growc("check", path).output


def test_what_is_no_config_file_is_not_waited_for(tmp_path: Path, place: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source in ({"config": "pipe"}, {"config": "absent"}, {"config": "."}, {"path": "pipe"}, {"path": "a\0b"}):
        assert "GROW205" in growc("check", spec(tmp_path, model=source)).output, source
    assert not place.exists()


@pytest.mark.parametrize("how", ["variable", "option"])
def test_without_the_cache_nothing_is_kept(
    tmp_path: Path, place: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "variable":
        monkeypatch.setenv(cache.VARIABLE, cache.OFF)
    words = ("--no-cache",) if how == "option" else ()
    before = os.environ[cache.VARIABLE]
    assert growc("check", spec(tmp_path), *words).exit_code == 0
    assert not place.exists()
    assert os.environ[cache.VARIABLE] == before


def test_a_damaged_cache_is_as_good_as_none(tmp_path: Path, place: Path) -> None:
    path = spec(tmp_path)
    first = growc("check", path)
    for file in place.glob("*/*"):
        file.write_bytes(file.read_bytes()[:-9])
    again = growc("check", path)
    assert again.output == first.output


def test_a_read_only_cache_answers_and_warns_at_most_once(
    tmp_path: Path, place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_warnings", [])
    place.write_text("no folder")
    done = growc("check", spec(tmp_path), "--output-format", "json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["diagnostics"] == []
    assert len(caplog.records) == 1

"""The commands as a user and a CI job meet them: output, exit codes, and no traceback at any mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import torch
from rich.filesize import decimal
from safetensors.torch import save_file

from growc.diagnostics import CODES
from growc.operators import OPERATORS, operator
from tests.command_line import growc
from tests.families import FAMILIES
from tests.files.packings import contents, experts
from tests.operators_cases import EXACT
from tests.small import spec

ROOT = Path(__file__).parents[2]


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "growc", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, cwd=ROOT, check=False,
    )  # fmt: skip


# -- what works ------------------------------------------------------------------------------------------------


def test_check_prints_invariants_and_exits_clean(tmp_path: Path) -> None:
    done = growc("check", spec(tmp_path))
    assert done.exit_code == 0
    assert "held        active_flops at upcycle" in done.stdout
    assert "to measure  loss at upcycle" in done.stdout
    assert done.stdout.endswith("1 spec checked: no findings\n")


def test_json_of_check_is_the_contract(tmp_path: Path) -> None:
    done = growc("check", spec(tmp_path), "--output-format", "json")
    shown = json.loads(done.stdout)
    assert shown.keys() == {"diagnostics", "invariants"}
    assert shown["diagnostics"] == []
    for invariant in shown["invariants"]:
        assert invariant.keys() == {"name", "stage", "status", "value", "limit"}
        assert invariant["status"] in ("held", "broken", "to_measure")


def test_json_of_plan_is_the_contract(tmp_path: Path) -> None:
    done = growc("plan", spec(tmp_path), "--output-format", "json")
    shown = json.loads(done.stdout)
    assert shown.keys() == {"name", "stages", "cost", "automatic", "diagnostics", "invariants"}
    assert shown["stages"][0]["from"] == []
    assert shown["invariants"][0].keys() == {"name", "stage", "status", "value", "limit"}


def test_plan_prints_and_saves(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    done = growc("plan", spec(tmp_path), "--out", out)
    assert done.exit_code == 0
    assert "~ model.layers.{0-1}.mlp.gate.weight" in done.stdout
    assert f"saved to {out}" in done.stderr
    assert json.loads(out.read_text())["growc_plan"] == 1


@pytest.mark.parametrize("place", ["itself", "pipe", "folder", "."])
def test_a_plan_replaces_nothing_but_files(tmp_path: Path, place: str) -> None:
    path, out = spec(tmp_path), tmp_path / place
    written = path.read_bytes()
    match place:
        case "itself":
            out = path
        case "pipe":
            os.mkfifo(out)
        case _:
            out.mkdir(exist_ok=True)
    kind = out.stat().st_mode
    done = growc("plan", path, "--out", out)
    assert (done.exit_code, "GROW604" in done.output) == (2, True)
    assert (out.stat().st_mode, path.read_bytes()) == (kind, written)


def test_a_plan_goes_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "plan.json")
    assert growc("plan", spec(tmp_path), "--out", tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "plan.json").read_text())["growc_plan"] == 1


def test_sequences_longer_than_a_table_of_positions(tmp_path: Path) -> None:
    longest = FAMILIES["gpt2"]["n_positions"]
    data = {"train": {"kind": "text", "path": "."}, "sequence_length": 2 * longest}
    stages = [{"name": "pretrain", "train": {"steps": 2, "batch_tokens": 8 * longest}}]
    path = spec(tmp_path, "gpt2", data=data, stages=stages, invariants={})
    done = growc("check", path)
    assert (done.exit_code, "GROW216" in done.stdout) == (1, True), done.output
    assert growc("check", path, "--set", f"data.sequence_length={longest}").exit_code == 0
    assert growc("check", spec(tmp_path, "llama", data=data, stages=stages, invariants={})).exit_code == 0


def test_set_overrides_for_check_and_plan(tmp_path: Path) -> None:
    done = growc("plan", spec(tmp_path), "--set", "stages[0].grow[0].factor=4", "--output-format", "json")
    assert json.loads(done.stdout)["stages"][0]["model"]["experts"] == 32


def test_several_specs_are_checked_even_if_one_is_wrong(tmp_path: Path) -> None:
    bad = tmp_path / "bad.growth.yaml"
    bad.write_text("growth: 2\n")
    done = growc("check", bad, spec(tmp_path))
    assert done.exit_code == 1
    assert "GROW100" in done.stdout
    assert "held        active_flops at upcycle" in done.stdout
    assert "2 specs checked" in done.stdout


def test_operators_and_explain_cover_the_tables() -> None:
    table = growc("operators").stdout
    listed = json.loads(growc("operators", "--output-format", "json").stdout)["operators"]
    for name in OPERATORS:
        assert name in table
        assert name in {row["op"] for row in listed}
        page = growc("explain", name)
        assert page.exit_code == 0
        for field in operator(name).model_fields:
            assert f"\n{field}: " in page.stdout
    assert "factor: integer >= 2 <= 256 = 2" in growc("explain", "expert_upcycling").stdout
    for code in CODES:
        page = growc("explain", code.lower())
        assert page.exit_code == 0
        assert CODES[code].text in page.stdout


def test_schema_is_json() -> None:
    assert json.loads(growc("schema").stdout)["$schema"].endswith("draft-07/schema#")


def test_github_annotations_are_escaped(tmp_path: Path) -> None:
    path = spec(tmp_path)
    done = growc("check", path, "--set", "stages[0].grow[0].fact=2", "--output-format", "github")
    assert done.exit_code == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("::error file=--set,line=1,col=")
    assert ",title=GROW" in line
    broken = growc("check", path, "--set", "invariants.active_flops.max_change=0", "--output-format", "github")
    assert "%25" in broken.stdout


def test_sarif_and_junit_hold_the_findings(tmp_path: Path) -> None:
    wrong = (spec(tmp_path), "--set", "invariants.active_flops.max_change=0")
    sarif = json.loads(growc("check", *wrong, "--output-format", "sarif").stdout)
    (result,) = sarif["runs"][0]["results"]
    assert result["ruleId"] == "GROW403"
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] > 0
    suite = ET.fromstring(growc("check", *wrong, "--output-format", "junit").stdout)
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    clean = ET.fromstring(growc("plan", spec(tmp_path), "--output-format", "junit").stdout)
    assert clean.get("failures") == "0"


def test_pack_and_unpack(tmp_path: Path) -> None:
    case = experts(tmp_path)
    done = growc("pack", case.source, "--to", case.packed)
    whole, packed = (decimal(sum(map(len, contents(path).values()))) for path in (case.source, case.packed))
    assert (done.exit_code, done.stdout) == (0, f"packed: {case.packed}, {whole} in {packed}\n")
    done = growc("unpack", case.packed, "--to", case.back)
    assert (done.exit_code, done.stdout) == (0, f"unpacked: {case.back}\n")
    assert contents(case.back) == contents(case.source)
    (tmp_path / "single").mkdir()
    save_file({"w": torch.arange(16.0)}, tmp_path / "single/model.safetensors")
    assert growc("pack", tmp_path / "single", "--to", tmp_path / "larger").stdout.endswith(": nothing is gained\n")
    (case.source / "growth.json").write_text("{")
    done = growc("pack", case.source, "--to", tmp_path / "again")
    assert (done.exit_code, "GROW670" in done.stderr) == (0, True)
    for command, folder in (("pack", case.packed), ("unpack", case.source)):
        done = growc(command, folder, "--to", tmp_path / "more")
        assert (done.exit_code, "GROW671" in done.output) == (2, True)
    assert not (tmp_path / "more").exists()


# -- what is wrong ---------------------------------------------------------------------------------------------


def grown_by(**operator: Any) -> dict[str, Any]:
    return {"stages": [{"name": "upcycle", "grow": [{"op": "expert_upcycling", **EXACT, **operator}]}]}


WRONG: dict[str, tuple[dict[str, Any], Sequence[str], str, int]] = {
    "unknown operator": ({"stages": [{"name": "u", "grow": [{"op": "expert_upcyclin"}]}]}, (), "GROW106", 1),
    "factor 1": (grown_by(factor=1), (), "GROW", 1),
    "factor as text": (grown_by(factor="two"), (), "GROW103", 1),
    "cap too small": (grown_by(factor=4, allocation={"rule": "greedy", "cap": 2}), (), "GROW303", 1),
    "no such layer": (grown_by(layers=[9]), (), "GROW302", 1),
    "replicas that do not add up": (grown_by(allocation={"rule": "explicit", "replicas": [2]}), (), "GROW306", 1),
    "noise without a bias": (grown_by(router={"init": "copy", "bias_noise": 1e-3}), (), "GROW305", 1),
    "unknown key": ({"stagez": []}, (), "GROW101", 1),
    "no such model type": ({"model": {"config": {"model_type": "qwen3_mo"}}}, (), "GROW201", 1),
    "a dense model": (
        {"model": {"config": {"model_type": "llama", "hidden_size": 32, "intermediate_size": 32, "vocab_size": 64,
                              "num_hidden_layers": 1, "num_attention_heads": 2}}}, (), "GROW301", 1,
    ),
    "no such folder": ({"model": {"path": "nowhere"}}, (), "GROW", 2),
    "code that is not allowed": ({"model": {"module": "os:getcwd"}}, (), "GROW", 1),
    "an override of nothing": ({}, ("--set", "stages[7].name=x"), "GROW", 1),
    "an override without a value": ({}, ("--set", "stages"), "GROW020", 2),
    "too many FLOPs": ({}, ("--set", "invariants.active_flops.max_change=0"), "GROW403", 1),
    "too many parameters": ({}, ("--set", "invariants.total_params.max=1000"), "GROW404", 1),
}  # fmt: skip


@pytest.mark.parametrize("command", ["check", "plan"])
@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_a_diagnostic_with_its_exit_code(tmp_path: Path, command: str, mistake: str) -> None:
    changes, options, code, exit_code = WRONG[mistake]
    path, out = spec(tmp_path, **changes), tmp_path / "plan.json"
    saved = ("--out", out) if command == "plan" else ()
    done = growc(command, path, *options, *saved)
    assert done.exit_code == exit_code, done.output
    assert code in done.output
    assert "Traceback" not in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["small.growth.yaml"], "nothing half-written"

    shown = growc(command, path, *options, "--output-format", "json")
    assert shown.exit_code == exit_code
    first = json.loads(shown.stdout)["diagnostics"][0]
    assert first.keys() == {"code", "severity", "file", "line", "column", "message", "help"}
    assert first["code"].startswith(code)
    assert first["help"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "missing.growth.yaml"),
        ("plan", "missing.growth.yaml"),
        ("run", "missing.growth.yaml", "--run-dir", "r"),
        ("run", "missing.json", "--run-dir", "r"),
        ("grow", "missing.growth.yaml", "--stage", "s", "--from", "a", "--to", "b"),
        ("report", "missing"),
        ("pack", "missing", "--to", "b"),
        ("unpack", "missing", "--to", "b"),
        ("check",),
        ("run", "a.growth.yaml"),
        ("run", "a.growth.yaml", "--run-dir", "r", "--nproc", "0"),
        ("run", "a.growth.yaml", "--run-dir", ""),
        ("plan", "a.growth.yaml", "--out", ""),
        ("run", "plan.json", "--run-dir", "r", "--set", "name=x"),
        ("check", "a.growth.yaml", "--output-format", "xml"),
        ("explain", "expert_upcylcing"),
        ("frobnicate",),
    ],
)
def test_what_cannot_run_exits_with_two(
    tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = growc(*arguments)
    assert done.exit_code == 2, done.output
    assert done.output
    assert list(tmp_path.iterdir()) == []


def test_explain_guesses() -> None:
    assert "did you mean expert_upcycling?" in growc("explain", "expert_upcylcing").output
    assert "did you mean GROW" in growc("explain", "grow1o1").output
    assert "see `growc operators`" in growc("explain", "zzz").output


def test_a_stale_plan_names_the_part_that_moved(tmp_path: Path) -> None:
    path, out = spec(tmp_path), tmp_path / "plan.json"
    assert growc("plan", path, "--out", out).exit_code == 0
    path.write_text(path.read_text().replace("name: small", "name: other"))
    done = growc("run", out, "--run-dir", tmp_path / "run")
    assert done.exit_code == 1
    assert "GROW601" in done.output
    assert "spec changed since" in done.output
    assert not (tmp_path / "run").exists()


def test_an_interrupted_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("growc.cli.check.load", interrupt)
    monkeypatch.setattr("growc.run.command.run", interrupt)
    monkeypatch.setattr("growc.checkpoint.command.grow", interrupt)
    assert growc("plan", spec(tmp_path)).exit_code == 2
    done = growc("run", spec(tmp_path), "--run-dir", tmp_path / "run")
    assert done.exit_code == 3
    assert "interrupted" in done.output
    again = growc("grow", spec(tmp_path), "--stage", "upcycle", "--from", tmp_path, "--to", tmp_path / "grown")
    assert again.exit_code == 3


# -- as processes ----------------------------------------------------------------------------------------------


@pytest.mark.process
def test_stdout_of_a_process_is_json_and_nothing_else(tmp_path: Path) -> None:
    done = process("check", spec(tmp_path), "--output-format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["diagnostics"] == []
    wrong = process("check", spec(tmp_path, **grown_by(factor=1)), "--output-format", "json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["diagnostics"]
    assert "Traceback" not in wrong.stderr


@pytest.mark.process
def test_a_mistake_in_the_text_is_told_without_torch(tmp_path: Path) -> None:
    path = spec(tmp_path, **grown_by(factor=1))
    program = (
        "import sys; from growc.cli.main import main\n"
        f"try: main(['check', {str(path)!r}])\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 False"


@pytest.mark.process
def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "numpy", "pydantic", "rich", "yaml", "networkx")
    program = f"import sys; from growc.cli.main import main; print(*(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

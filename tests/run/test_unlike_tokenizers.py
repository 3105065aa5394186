"""Parents that mean different tokens by one id are not mixed, unless someone says that it does not matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from growc.files.vocabulary import difference
from growc.model.build import load_config
from tests.command_line import growc
from tests.families import FAMILIES
from tests.files.test_vocabulary import shuffled, swapped, trained, write
from tests.run import tiny

pytestmark = pytest.mark.share(3)

ALLOW = "--allow-unlike-tokenizers"
MIX: dict[str, Any] = {"name": "mix", "from": ["source", "sources.code"], "grow": [{"op": "model_soup"}]}
VOCABULARY = {f"token{number}": number for number in range(256)}
OTHER, ONE, ANOTHER = swapped(VOCABULARY, 97, 98)
SAYS = f"97 is '{ONE}'"


def parent(folder: Path, seed: int, vocabulary: dict[str, int] | None) -> None:
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(load_config(FAMILIES["qwen3"])).save_pretrained(folder)
    if vocabulary is not None:
        write(folder, {"model": {"type": "BPE", "vocab": vocabulary, "merges": []}, "added_tokens": []}, indent=seed)


def spec(root: Path, first: Any, second: Any, *stages: dict[str, Any]) -> Path:
    parent(root / "math", 1, first)
    parent(root / "code", 2, second)
    models = {"model": {"path": "math"}, "sources": {"code": {"path": "code"}}}
    return tiny.spec(root, "qwen3", **models, stages=list(stages) or [MIX], training=tiny.PLAIN)


@pytest.mark.parametrize("command", ["check", "plan"])
def test_unlike_parents_are_refused_before_a_run(tmp_path: Path, command: str) -> None:
    path = spec(tmp_path, VOCABULARY, OTHER)
    for _ in range(2):  # the second answer may be one that was kept
        done = growc(command, path, "--output-format", "json")
        assert done.exit_code == 1, done.output
        (found,) = [each for each in json.loads(done.stdout)["diagnostics"] if each["severity"] == "error"]
        assert found["code"] == "GROW219"
        assert SAYS in found["message"]
        assert f"'{ANOTHER}'" in found["message"]
        assert path.read_text().splitlines()[found["line"] - 1].strip().startswith(("from", "- source"))
    allowed = growc(command, path, ALLOW)
    assert allowed.exit_code == 0, allowed.output
    assert growc(command, path).exit_code == 1, "what was allowed once is not allowed for good"


@pytest.mark.slow
def test_a_run_refuses_them_too(tmp_path: Path) -> None:
    path = spec(tmp_path, VOCABULARY, OTHER)
    said = tiny.run(path, tmp_path / "run", code=1)
    assert "GROW219" in said
    assert SAYS in said
    assert not (tmp_path / "run/stages").exists()


def test_a_frozen_plan_allows_nothing_by_itself(tmp_path: Path) -> None:
    path = spec(tmp_path, VOCABULARY, OTHER)
    assert growc("plan", path, ALLOW, "--out", tmp_path / "plan.json").exit_code == 0
    said = tiny.run(tmp_path / "plan.json", tmp_path / "run", code=1)
    assert "GROW219" in said


def test_a_run_mixes_them_if_allowed(tmp_path: Path) -> None:
    path = spec(tmp_path, VOCABULARY, OTHER)
    output = tiny.run(path, tmp_path / "run", options=(ALLOW,))
    assert "GROW219" not in output
    assert (tmp_path / "run/stages/mix/checkpoint/model.safetensors").exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [(VOCABULARY, shuffled(VOCABULARY)), (VOCABULARY, None), (None, OTHER), (None, None)],
    ids=["another order", "first alone", "second alone", "none"],
)
def test_parents_that_agree_or_say_nothing(tmp_path: Path, first: Any, second: Any) -> None:
    done = growc("check", spec(tmp_path, first, second))
    assert done.exit_code == 0, done.output
    assert "GROW219" not in done.output


def test_branches_are_known_by_what_they_started_from(tmp_path: Path) -> None:
    """Trained first, and mixed then: as `from: [math.stable, code]` has it."""
    train = {"train": {"steps": 2, "data": "pretrain"}}
    stages = [
        {"name": "a", **train},
        {"name": "b", "from": "sources.code", **train},
        {"name": "mix", "from": ["a", "b"], "grow": [{"op": "branch_train_mix"}]},
    ]
    path = spec(tmp_path, VOCABULARY, OTHER, *stages)
    done = growc("check", path)
    assert done.exit_code == 1
    assert "GROW219" in done.output
    stages = [{"name": "alone", "from": "sources.code", **train}, {**stages[0], "from": "source"}, *stages[1:]]
    stages[2]["from"] = "source"
    done = growc("check", spec(tmp_path, VOCABULARY, OTHER, *stages))
    assert done.exit_code == 0, done.output


def test_sources_that_nothing_mixes_may_differ(tmp_path: Path) -> None:
    stages = [{"name": name, "from": start, "train": {"steps": 2, "data": "pretrain"}} for name, start in
              (("a", "source"), ("b", "sources.code"))]  # fmt: skip
    assert growc("check", spec(tmp_path, VOCABULARY, OTHER, *stages)).exit_code == 0


def test_a_damaged_tokenizer_is_no_agreement(tmp_path: Path) -> None:
    path = spec(tmp_path, VOCABULARY, VOCABULARY)
    (tmp_path / "code/tokenizer.json").write_text("{")
    done = growc("check", path)
    assert (done.exit_code, "GROW220" in done.output) == (2, True)
    assert growc("check", path, ALLOW).exit_code == 0


def test_checkpoints_of_runs_say_what_their_source_did(tmp_path: Path) -> None:
    """A run passes the tokenizer on, so its checkpoints are compared like any folder."""
    vocabulary = {token: number for token, number in trained()["model"]["vocab"].items() if number < 256}
    tiny.run(spec(tmp_path, vocabulary, None), tmp_path / "run")
    checkpoint = tmp_path / "run/stages/mix/checkpoint"
    assert difference(checkpoint, tmp_path / "math") is None
    write(tmp_path / "code", {"model": {"vocab": swapped(vocabulary, 4, 5)[0]}})
    assert difference(checkpoint, tmp_path / "code") is not None

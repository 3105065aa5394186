"""A result file has what the run found and what it takes to run it again, and nothing of where it ran."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from benchmarks.expert_upcycling import collect
from benchmarks.expert_upcycling.results import read_results
from growc.files.versions import code_digest
from growc.records.folder import RunFolder
from tests.benchmarks.made import MACHINE, run_folder, summary

AXES = {"cpt": ["50", "100"]}
VALUES = summary(AXES, {("50",): 1.58, ("100",): 1.56})


@pytest.fixture
def no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking through all commits for code that is in none takes its time."""
    monkeypatch.setattr(collect, "MOST_COMMITS", 1)


@pytest.mark.process
@pytest.mark.usefixtures("no_history")
def test_a_finished_run_becomes_a_result(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", "table1_main", VALUES)
    collect.main([str(folder)], tmp_path / "results")
    text = (tmp_path / "results" / "table1_main.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "/somewhere" not in text
    (result,) = read_results(tmp_path / "results")
    assert (result.name, result.section, result.seeds) == ("table1_main", "table1_main", (0, 1, 2))
    assert result.date == "2026-11-22"
    assert result.wall_seconds == 150  # the hour between the two sessions is in neither
    assert result.train_tokens == 12_000_000
    assert result.machines == ({"ranks": 2, "layout": "fsdp 2, ep 1", "device": "cpu"} | MACHINE,)
    assert len(result.groups) == 6
    assert [arm.seed for arm in result.members(result.groups[0])] == [0, 1, 2]


@pytest.mark.process
@pytest.mark.usefixtures("no_history")
def test_the_command_runs_it_again(tmp_path: Path) -> None:
    result = collect.collect(RunFolder(run_folder(tmp_path / "run", "table1_main", VALUES)))
    assert shlex.split(result["command"]) == [
        "OMP_NUM_THREADS=1", "growc", "run", "specs/expert_upcycling/table1_main.growth.yaml",
        "--run-dir", "runs/table1_main", "--nproc", "2", "--set", 'sweep["training.seed"]=[0, 1]',
    ]  # fmt: skip


@pytest.mark.process
@pytest.mark.usefixtures("no_history")
def test_what_the_figures_are_is_kept_whole(tmp_path: Path) -> None:
    """More than the report reads: whoever has another question finds it answered."""
    result = collect.collect(RunFolder(run_folder(tmp_path / "run", "table1_main", VALUES)))
    assert result["arms"] == json.loads(json.dumps(VALUES["arms"]))
    assert result["groups"] == json.loads(json.dumps(VALUES["groups"]))


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", "table1_main", VALUES)
    (folder / "summary.json").unlink()
    with pytest.raises(SystemExit, match="is no finished run"):
        collect.main([str(folder)], tmp_path / "results")
    with pytest.raises(SystemExit, match="give the --run-dir"):
        collect.main([], tmp_path / "results")


@pytest.mark.process
def test_the_commit_is_found_by_the_code_that_ran(tmp_path: Path) -> None:
    """Also when the repository has moved on since, and not at all for code that was never committed."""

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    package = Path(collect.ROOT / "growc")
    git("init", "-q")
    for source in package.rglob("*.py"):
        copy = tmp_path / "growc" / source.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    git("add", "-A")
    git("commit", "-qm", "as it ran")
    ran = git("rev-parse", "HEAD")
    (tmp_path / "growc" / "later.py").write_text("LATER = 1\n", encoding="utf-8")
    git("add", "-A")
    git("commit", "-qm", "later")
    assert collect.commit_of(code_digest(), tmp_path) == ran
    assert collect.commit_of("0" * 64, tmp_path) is None

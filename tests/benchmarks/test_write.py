"""The report: our figures beside the paper's, nothing made up, and prose where it belongs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.expert_upcycling import collect, prediction, write
from benchmarks.expert_upcycling.results import HERE, ROOT
from benchmarks.expert_upcycling.sections import SECTIONS
from growc.report.numbers import MINUS, NONE
from tests.benchmarks.made import run_folder, summary

BUDGETS = summary({"cpt": ["50", "100"]}, {("50",): 1.58, ("100",): 1.56})
SCORES = ("random_experts", "uniform", "gradient_squared", "random_allocation")
COPIES = summary(
    {"cpt": ["25"], "arm": SCORES},
    {("25", arm): loss for arm, loss in zip(SCORES, (1.95, 1.59, 1.57, 1.58), strict=True)},
)

Report = Callable[..., str]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Writes a report of made-up runs, and gives it with the signs of numbers as one types them."""
    monkeypatch.setattr(prediction, "RESAMPLES", 50)
    monkeypatch.setattr(collect, "commit_of", {}.get)  # `test_collect.py` looks for one

    def make(findings: str = "", **runs: dict[str, Any]) -> str:
        folders = [str(run_folder(tmp_path / "runs" / name, name, values)) for name, values in runs.items()]
        collect.main(folders, tmp_path / "results")
        (tmp_path / "findings.md").write_text(findings, encoding="utf-8")
        write.main(tmp_path / "results", tmp_path, tmp_path / "findings.md")
        return _read(tmp_path)

    return make


def _read(folder: Path) -> str:
    return (folder / "RESULTS.md").read_text(encoding="utf-8").replace(MINUS, "-").replace(NONE, "none")


def _rows(text: str, start: str) -> list[list[str]]:
    found = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found]


def test_ours_stand_beside_the_papers(report: Report) -> None:
    text = report(table1_main=BUDGETS)
    assert _rows(text, "Table 1: 50") == [["Table 1: 50", "3", "-0.0190 ± 0.0006", "38 % ± 2", "-0.034", "110 %"]]
    (row,) = _rows(text, "50 ")
    assert row[:5] == ["50", "3", "+0.0412 ± 0.0022", "1.5823 ± 0.0045", "-0.0190 ± 0.0006"]
    assert "501 k tokens" in row
    assert row[-2:] == ["-0.034", "110 %"]
    assert "OMP_NUM_THREADS=1 growc run specs/expert_upcycling/table1_main.growth.yaml" in text
    assert "3 seeds (0, 1, 2), 12.0 M training tokens in 2 min 30 s; Some CPU, 2 cores, 2 ranks" in text


def test_arms_are_compared_seed_by_seed(report: Report) -> None:
    text = report(table4_duplication=COPIES)
    (row,) = _rows(text, "25 · gradient_squared")
    assert "-0.0200 ± 0.0000" in row  # against uniform: what the seeds add to all arms alike falls out
    assert "gradient_squared - random_allocation at cpt 25: -0.0100 ± 0.0000" in text


def test_what_is_not_there_is_shown_as_missing(report: Report) -> None:
    text = report(table4_duplication=COPIES)
    (row,) = _rows(text, "25 · weight_norm")  # the paper has it, and we did not run it
    assert row[1] == "not run"
    assert set(row[2:-2]) == {"none"}
    assert row[-2:] == ["-0.011", "22 %"]
    (row,) = _rows(text, "25 · random_allocation")  # we ran it, and the paper has none
    assert row[-2:] == ["none", "none"]
    assert "It also has cpt 50; cpt 75; cpt 100." in text
    assert "- `specs/expert_upcycling/arms.growth.yaml`" in text.partition("## Not run")[2]


def test_a_share_of_no_gap_has_its_reason(report: Report) -> None:
    groups = [group | ({"eta": None, "why_null": "the gap is noise"} if group["arm"] == "main" else {})
              for group in BUDGETS["groups"]]  # fmt: skip
    text = report(table1_main=BUDGETS | {"groups": groups})
    assert "No share of the gap: 50, 100 (the gap is noise)" in text
    assert _rows(text, "Table 1: 50")[0][-3:] == ["-0.0190 ± 0.0006", "-0.034", "110 %"]  # no column of our shares


def test_a_single_seed_has_the_error_of_its_windows(report: Report) -> None:
    text = report(paper=summary({}, {(): 1.57}, seeds=1))
    (row,) = _rows(text, "grown ")
    assert "-0.0300 ± 0.0007†" in row
    assert "60 % ± 3" in row


def test_prose_stands_in_its_section(report: Report) -> None:
    text = report("## summary\nIn short.\n\n## table1_main\nIt grew.\n", table1_main=BUDGETS)
    assert text.index("In short.") < text.index("## At a glance") < text.index("## Table 1") < text.index("It grew.")


def test_prose_of_no_section_is_refused(report: Report) -> None:
    with pytest.raises(SystemExit, match="no section is called table9"):
        report("## table9\nWhat is this?\n", table1_main=BUDGETS)


def test_a_result_without_a_section_is_refused(report: Report) -> None:
    with pytest.raises(SystemExit, match="no section is for the results another"):
        report(another=BUDGETS)


def test_every_section_has_a_picture_with_its_arms(report: Report, tmp_path: Path) -> None:
    text = report(table1_main=BUDGETS, table4_duplication=COPIES, table8_experts=_single("arm", ("copy", "drop")))
    for name in ("table1_main", "table4_duplication", "table8_experts"):
        assert f"(plots/{name}.svg)" in text
        drawn = (tmp_path / "plots" / f"{name}.svg").read_text(encoding="utf-8")
        assert ET.fromstring(drawn).tag.endswith("svg")
        assert "fixed target" in drawn
    assert "+0.3510" in (tmp_path / "plots" / "table4_duplication.svg").read_text(encoding="utf-8")  # out of the frame
    assert "drop" in (tmp_path / "plots" / "table8_experts.svg").read_text(encoding="utf-8")


def _single(axis: str, labels: tuple[str, ...]) -> dict[str, Any]:
    return summary({axis: labels}, {(label,): 1.57 + 0.001 * index for index, label in enumerate(labels)})


def test_the_same_results_give_the_same_files(report: Report, tmp_path: Path) -> None:
    first = report(table1_main=BUDGETS)
    picture = (tmp_path / "plots" / "table1_main.svg").read_bytes()
    write.main(tmp_path / "results", tmp_path, tmp_path / "findings.md")
    assert _read(tmp_path) == first
    assert (tmp_path / "plots" / "table1_main.svg").read_bytes() == picture


def test_the_prediction_counts_arms_and_not_seeds(report: Report) -> None:
    text = report(table4_duplication=COPIES)
    assert _rows(text, "all arms that grow") == [["all arms that grow", "4", "1.00 (1.00 to 1.00)"]]
    assert _rows(text, "the paper: the loss")[0][1:] == ["65", "0.80"]


def test_sections_and_specs_are_the_same() -> None:
    specs = {path.name.removesuffix(".growth.yaml") for path in (ROOT / "specs/expert_upcycling").glob("*.growth.yaml")}
    assert {section.key for section in SECTIONS} >= {name for name in specs if not name.startswith("full_size")}


@pytest.mark.skipif(not (HERE / "RESULTS.md").exists(), reason="nothing was measured yet")
def test_the_report_is_that_of_the_result_files(tmp_path: Path) -> None:
    """Nobody writes a figure by hand."""
    write.main(into=tmp_path)
    assert (tmp_path / "RESULTS.md").read_text(encoding="utf-8") == (HERE / "RESULTS.md").read_text(encoding="utf-8")
    shown = re.findall(r"\(plots/(\S+\.svg)\)", (HERE / "RESULTS.md").read_text(encoding="utf-8"))
    assert all((HERE / "plots" / name).exists() for name in shown)

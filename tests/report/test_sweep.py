"""The report on sweeps: finished or not, with and without controls, for one seed and for several."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from growc.records.folder import RunFolder
from growc.report.command import report
from growc.report.read import read_runs
from growc.report.sweep import groups, named
from tests.report.folders import Made, make_run
from tests.report.sweeps import MadeSweep, make_sweep
from tests.report.test_report import Outline, read

pytestmark = pytest.mark.share(4)

SHORT = MadeSweep(steps=40, validations=8)
MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sweep(tmp_path_factory.mktemp("sweeps") / "whole", SHORT)


@pytest.fixture(scope="module")
def page(run_dir: Path) -> Outline:
    return read(report([run_dir], None))


def rows(page: str) -> list[str]:
    """The text of every table row."""
    return [
        " ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    ]


def test_the_verdict_names_the_lowest_arm_and_the_next(page: Outline) -> None:
    assert "Of 3 arms that grow, split ended lowest, at 2.2" in page.text
    assert "Errors are over 3 seeds. The next, free, ended 0.00" in page.text
    assert "nats behind it." in page.text


def test_arms_that_are_not_told_apart_are_said_to_be(tmp_path: Path) -> None:
    run = make_sweep(tmp_path / "run", SHORT)
    path = run / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    for arm in summary["arms"]:
        if arm["point"]["arm"] == "free" and arm["arm"] == "main":
            result = RunFolder(run).stage(arm["end"]) / "result.json"
            low = json.loads((RunFolder(run).stage(arm["end"].replace("free", "split")) / "result.json").read_text())
            shift = (-0.01, 0.0, 0.013)[arm["seed"]]
            values = json.loads(result.read_text()) | {"val_losses": [x + shift for x in low["val_losses"]]}
            result.write_text(json.dumps(values), encoding="utf-8")
    text = read(report([run], None)).text
    assert "nats away, which is under 3 standard errors: the two are not told apart." in text


def test_the_table_has_groups_with_errors_over_seeds(page: Outline, run_dir: Path) -> None:
    found = rows((run_dir / "report.html").read_text(encoding="utf-8"))
    split = next(row for row in found if row.startswith("split"))
    assert re.match(
        rf"split 3 2\.2\d{{3}} ± 0\.0\d+ {MINUS}0\.0\d+ ± 0\.00\d+ \+0\.0\d+ ± 0\.00\d+ 0\.\d\d ± 0\.04 21 %", split
    ), split
    assert [row.split(" 3 ")[0] for row in found if " 3 2." in row] == [
        "free", "exclusive", "split", "source alone", "from scratch",
    ]  # fmt: skip


def test_what_several_arms_do_alike_stands_once(page: Outline) -> None:
    assert page.text.count("upcycle seed=0|1|2,arm=free") == 1
    assert "held active_flops upcycle x9" in page.text
    assert "cpt x9" in page.text
    assert "pretrain x3" in page.text


def test_every_group_that_grows_has_a_panel(page: Outline) -> None:
    titles = [words for words in page.words if words.strip() in SHORT.arms]
    assert len(titles) >= 2 * len(SHORT.arms)  # on a wide page and on a phone, beside the tables
    assert "Against the source alone, from the growth on" in page.text
    assert "+0.3100 at the growth" in page.text


def test_chapters_of_a_sweep_come_in_order(page: Outline) -> None:
    chapters = (
        "Arms compared", "Where the arms ended", "Loss over training tokens", "Growth and experts",
        "not a prediction of the loss", "What grew", "Where the time went", "Invariants", "How to reproduce",
    )  # fmt: skip
    places = [page.text.index(chapter) for chapter in chapters]
    assert places == sorted(places)
    assert "Expert load at the end" not in page.text


def test_a_sweep_under_way_compares_nothing(tmp_path: Path) -> None:
    text = read(report([make_sweep(tmp_path / "run", replace(SHORT, done=14))], None)).text
    assert "The run is not finished: 14 of 30 stages are done." in text
    assert "their means are not to be compared" in text
    assert "against the source alone" not in text
    assert "Growth and experts" not in text
    (run,) = read_runs([tmp_path / "run"])
    ended = {group.name: len(group.losses) for group in groups(run)}
    assert ended == {"free": 2, "exclusive": 1, "split": 1, "source alone": 1, "from scratch": 1}
    assert all(source is not None for source in groups(run)[1].sources)


@pytest.mark.parametrize("done", [2, 3, 29])
def test_a_sweep_has_a_report_at_any_moment(tmp_path: Path, done: int) -> None:
    text = read(report([make_sweep(tmp_path / "run", replace(SHORT, done=done))], None)).text
    assert f"{done} of 30 stages are done" in text


def test_without_controls_the_losses_themselves_are_shown(tmp_path: Path) -> None:
    text = read(report([make_sweep(tmp_path / "run", replace(SHORT, controls=(), validations=0))], None)).text
    assert "Loss from the growth on" in text
    assert "The training loss, mean over some steps of every arm." in text
    assert "eta needs both controls" in text
    assert "gap closed, η" not in text


def test_one_seed_has_no_errors(tmp_path: Path) -> None:
    text = read(report([make_sweep(tmp_path / "run", replace(SHORT, seeds=(0,)))], None)).text
    assert "With one seed, nothing is known of the spread over seeds." in text
    assert "One seed each: nothing is known of the spread between seeds." in text
    assert "±" not in text.replace("± 0.0004", "")


def test_a_gap_within_the_noise_says_so(tmp_path: Path) -> None:
    text = read(report([make_sweep(tmp_path / "run", replace(SHORT, learned=False))], None)).text
    assert "No η: the controls differ by 0.0002 nats, under 3 times the noise (0.0011 over 3 seeds)." in text


@pytest.mark.slow
def test_sweeps_and_single_runs_share_a_page(run_dir: Path, tmp_path: Path) -> None:
    single = make_run(tmp_path / "single", Made(steps=40))
    outline = read(report([run_dir, single], tmp_path / "both.html"))
    assert outline.text.count("Arms compared") == 2
    assert "Expert load at the end" in outline.text
    ids = [attributes["id"] for _, attributes in outline.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_two_sweeps_share_a_page(run_dir: Path, tmp_path: Path) -> None:
    other = make_sweep(tmp_path / "other", replace(SHORT, name="timing", arms=("free", "split")))
    outline = read(report([run_dir, other], tmp_path / "both.html"))
    assert outline.text.count("Where the arms ended") == 2
    ids = [attributes["id"] for _, attributes in outline.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_dozens_of_arms_fit(tmp_path: Path) -> None:
    arms = tuple(f"free-{i}" for i in range(20))
    path = report([make_sweep(tmp_path / "run", replace(SHORT, arms=arms))], None)
    assert "free-19" in read(path).text
    assert path.stat().st_size < 1_000_000


@pytest.mark.slow
def test_the_same_sweep_gives_the_same_bytes(run_dir: Path, tmp_path: Path) -> None:
    first, second = report([run_dir], tmp_path / "a.html"), report([run_dir], tmp_path / "b.html")
    assert first.read_bytes() == second.read_bytes()


def test_a_summary_of_an_earlier_version_is_readable(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Made(steps=40))
    assert "arms" not in json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert "Arms compared" in read(report([run], None)).text


def test_arms_that_are_the_same_stages_are_one_group(run_dir: Path) -> None:
    (run,) = read_runs([run_dir])
    found = groups(run)
    assert [(group.name, group.arm, len(group.trails)) for group in found] == [
        ("free", "main", 3), ("exclusive", "main", 3), ("split", "main", 3),
        ("source alone", "fixed_source", 3), ("from scratch", "fixed_target", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("points", "names"),
    [
        ([("main", {}), ("fixed_source", {})], ["grown", "source alone"]),
        ([("main", {"arm": "free"}), ("main", {"arm": "split"})], ["free", "split"]),
        ([("main", {"lr": "0.001"}), ("main", {"lr": "0.01"})], ["lr 0.001", "lr 0.01"]),
        (
            [("main", {"arm": "free", "k": "2"}), ("main", {"arm": "split", "k": "4"})],
            ["arm free, k 2", "arm split, k 4"],
        ),
        (
            [("main", {"arm": "free"}), ("main", {"arm": "split"}), ("random_allocation", {"arm": "free"})],
            ["grown · free", "grown · split", "random allocation · free"],
        ),
    ],
)
def test_groups_are_named_by_what_varies(points: list[tuple[str, dict[str, str]]], names: list[str]) -> None:
    assert named(points) == names

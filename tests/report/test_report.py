"""The report on whole, partial, deep and damaged runs."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from growc.diagnostics import GrowcError
from growc.records.folder import RunFolder
from growc.report.command import report
from tests.report.folders import Made, make_run

pytestmark = pytest.mark.share(4)

SHORT = Made(steps=40)


class Outline(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that close in another order than they open."""

    VOID = frozenset({"meta", "br", "link", "img", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        """All text, spaces made one."""
        return " ".join(" ".join(self.words).split())


def read(path: Path) -> Outline:
    return Outline(path.read_text(encoding="utf-8"))


def code_of(error: pytest.ExceptionInfo[GrowcError]) -> str:
    return error.value.diagnostics[0].code


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "whole", SHORT)


@pytest.fixture(scope="module")
def page(run_dir: Path) -> Outline:
    return read(report([run_dir], None))


def test_the_verdict_says_what_the_numbers_say(page: Outline) -> None:
    assert (
        "Growing 8 to 16 experts kept the validation loss to below 1e-06 nats; the grown arm ended at 2.161, "
        "the source alone at 2.229, the 16-expert model from scratch at 2.129." in page.text
    )


def test_key_figures_lead_with_the_prediction(page: Outline) -> None:
    figures = ("Plain duplication would cost", "This growth cost", "Gap closed", "Time saved", "Total time")
    places = [page.text.index(figure) for figure in figures]
    assert places == sorted(places)
    assert "0.71 ± 0.03" in page.text
    assert "\N{MINUS SIGN}2.0 %" in page.text


def test_every_chapter_is_there_in_order(page: Outline) -> None:
    chapters = (
        "What grew", "Loss over training tokens", "The loss at the growth", "K_eff after plain duplication",
        "Expert load at the end", "Busiest expert", "How far siblings went apart", "Arms compared",
        "Where the time went", "Invariants", "How to reproduce", "The spec, resolved",
    )  # fmt: skip
    places = [page.text.index(chapter) for chapter in chapters]
    assert places == sorted(places)
    assert "--set 'stages[0].train.steps=40'" in page.text


def test_the_page_needs_nothing_from_anywhere(page: Outline, run_dir: Path) -> None:
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "img", "iframe", "object", "base", "form"}]
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith("#")
    text = (run_dir / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://", text)
    assert not re.search(r"@import|url\((?!#)", text)


def test_pictures_have_real_text_and_the_pages_colours(page: Outline) -> None:
    assert "From the growth on" in page.text
    texts = [attributes for tag, attributes in page.tags if tag == "text"]
    assert len(texts) > 100
    assert all("var(--sans)" in (attributes["style"] or "") for attributes in texts)
    drawn = [
        attributes["style"] or ""
        for tag, attributes in page.tags
        if tag in {"path", "use", "text"} and "style" in attributes
    ]
    assert not [style for style in drawn if re.search(r"#[0-9a-f]{6}", style)]


def test_ids_are_unique_and_every_reference_has_its_target(page: Outline, run_dir: Path) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    text = (run_dir / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r"(?:url\(#|xlink:href=\"#)([^\")]+)", text)) <= set(ids)


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(run_dir: Path, tmp_path: Path) -> None:
    first, second = report([run_dir], tmp_path / "a.html"), report([run_dir], tmp_path / "b.html")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_text_of_the_spec_is_escaped(tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script> & $\\alpha$ </title> 名前'
    made = replace(SHORT, name=hostile, values={"name": hostile, "</pre><b>": ["]]>", "<!--"]})
    path = report([make_run(tmp_path / "a", made), make_run(tmp_path / "b", made)], None)
    outline = read(path)
    assert "script" not in {tag for tag, _ in outline.tags}
    assert "$\\alpha$" in outline.text
    assert "]]>" in outline.text


def test_several_runs_share_pictures_and_table(run_dir: Path, tmp_path: Path) -> None:
    free = make_run(tmp_path / "free", replace(SHORT, name="upcycle-free", free=True, seed=1))
    outline = read(report([run_dir, free], tmp_path / "both.html"))
    assert "upcycle-8-to-16: grown" in outline.text
    assert "upcycle-free: from scratch" in outline.text
    assert "moved the validation loss by +0.3139 nats" in outline.text
    assert outline.text.count("Arms compared") == 1
    assert not (tmp_path / "free" / "report.html").exists()


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, SHORT) for name in ("seed-0", "seed-1")]
    outline = read(report(runs, None))
    assert "seed-0: grown" in outline.text
    assert "seed-1: grown" in outline.text


@pytest.mark.parametrize(("through", "done"), [("pretrain", 1), ("upcycle", 2), ("fixed_source/cpt", 4)])
def test_a_run_under_way_has_a_report(tmp_path: Path, through: str, done: int) -> None:
    outline = read(report([make_run(tmp_path / "run", replace(SHORT, through=through))], None))
    assert f"The run is not finished: {done} of 6 stages are done." in outline.text
    grown = done > 1
    assert ("under way, 32 %" in outline.text) == grown
    assert ("Plain duplication would cost" in outline.text) == grown
    assert ("the run is not finished" in outline.text) == grown


def test_a_finished_growth_settles_its_invariant_before_the_summary_does(tmp_path: Path) -> None:
    outline = read(report([make_run(tmp_path / "run", replace(SHORT, through="upcycle", free=True))], None))
    assert re.search(r"broken loss upcycle \+0\.3139 nats 1e-05 nats", outline.text)


def test_a_run_without_controls_says_why_it_has_no_eta(tmp_path: Path) -> None:
    outline = read(report([make_run(tmp_path / "run", replace(SHORT, arms=()))], None))
    assert "eta needs both baselines" in outline.text
    assert "Time saved" not in outline.text


def test_sixty_layers_fit(tmp_path: Path) -> None:
    path = report([make_run(tmp_path / "run", replace(SHORT, layers=60, experts=128, top_k=8))], None)
    assert "model.layers.{1-60}.mlp.gate.weight" in read(path).text
    assert path.stat().st_size < 1_000_000


def test_a_diverged_run_has_a_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SHORT)
    metrics = RunFolder(run).stage("cpt") / "metrics.jsonl"
    metrics.write_text(re.sub(r'"loss": [0-9.]+', '"loss": NaN', metrics.read_text("utf-8")), encoding="utf-8")
    result = RunFolder(run).stage("cpt") / "result.json"
    result.write_text(re.sub(r"2\.\d+", "NaN", result.read_text("utf-8")), encoding="utf-8")
    assert "the grown arm ended at nan" in read(report([run], None)).text


def test_a_row_cut_short_by_a_crash_is_forgiven(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", replace(SHORT, through="upcycle"))
    with (RunFolder(run).stage("cpt") / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 14, "lo')
    report([run], None)


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_a_folder_that_is_no_run(tmp_path: Path, path: str) -> None:
    with pytest.raises(GrowcError) as error:
        report([tmp_path / path], None)
    assert code_of(error) == "GROW630"


def test_a_run_without_a_finished_stage(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", replace(SHORT, through="pretrain"))
    RunFolder(run).checkpoint("pretrain").rmdir()
    with pytest.raises(GrowcError) as error:
        report([run], None)
    assert code_of(error) == "GROW631"
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("stages/cpt/metrics.jsonl", '{"step": 1, "loss": 2.0}\nnot json\n', 2),
        ("stages/cpt/metrics.jsonl", '{"step": "x"}\n', 1),
        ("stages/cpt/result.json", "{}", 1),
        ("stages/cpt/result.json", "[1, 2", 1),
        ("journal.jsonl", '{"event": "run_started"}\n', 1),
        ("summary.json", '{"comparison": {"eta": "high"}}', 1),
    ],
)
def test_a_damaged_file_has_its_place(tmp_path: Path, file: str, text: str, line: int) -> None:
    run = make_run(tmp_path / "run", SHORT)
    (run / file).write_text(text, encoding="utf-8")
    with pytest.raises(GrowcError) as error:
        report([run], None)
    found = error.value.diagnostics[0]
    assert found.code == "GROW632"
    assert found.span is not None
    assert found.span.file == str((run / file).resolve())
    assert found.span.line == line


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SHORT)
    (run / "stages/cpt/metrics.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(GrowcError) as error:
        report([run], None)
    assert code_of(error) == "GROW632"


@pytest.mark.parametrize("out", ["missing/report.html", "folder", "folder/..", "pipe"])
def test_a_report_that_cannot_be_written(run_dir: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(GrowcError) as error:
        report([run_dir], tmp_path / out)
    assert code_of(error) == "GROW633"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_an_earlier_report_is_replaced(run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("earlier", encoding="utf-8")
    assert report([run_dir], out) == out
    assert "growc report" in out.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]

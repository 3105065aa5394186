"""Every mistake is found, with its code, at its line and column; and every code has a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from growc.diagnostics import CODES, ExitCode, GrowcError
from growc.spec import load
from growc.spec.compose import MAX_DEPTH, MAX_NODES
from growc.spec.scalars import LONGEST_NUMBER
from growc.spec.source import MAX_BYTES
from tests.spec.conftest import Findings
from tests.spec.examples import HEAD, MISTAKES, Mistake

FILES = {"GROW001", "GROW002"}
PRECISION = {"GROW635", "GROW636"}
"""Codes of a spec that stand among those of training."""


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_found_at_its_place(mistake: Mistake, findings: Findings) -> None:
    found = findings(mistake.clean, mistake.clean_overrides)
    places = [(d.code, d.span.line, d.span.column) for d in found if d.span]
    assert places == mistake.places, "\n".join(map(str, found))
    assert any(mistake.help in d.help for d in found), [d.help for d in found]
    assert all(d.message and d.help for d in found)


def test_every_code_of_the_language_is_produced() -> None:
    produced = {code for mistake in MISTAKES.values() for code in mistake.codes}
    assert produced | FILES == {code for code in CODES if code[4] in "01"} | PRECISION


@pytest.mark.parametrize("code", [code for code in CODES if code[4] in "01"])
def test_every_code_is_explained(code: str) -> None:
    assert len(CODES[code].title) > 5
    assert len(CODES[code].text) > 80


def test_explanations_state_the_limits_that_hold() -> None:
    assert f"{MAX_NODES:,} values" in CODES["GROW012"].text.replace("\n", " ")
    assert f"most {MAX_DEPTH} deep" in CODES["GROW012"].text.replace("\n", " ").replace("nested at ", "")
    assert f"{LONGEST_NUMBER} characters" in CODES["GROW013"].text.replace("\n", " ")
    assert f"{MAX_BYTES // 1024} KiB" in CODES["GROW002"].text


def test_a_long_list_of_names_is_cut(findings: Findings) -> None:
    stages = "".join(f"  - {{name: s{i}, grow: [{{op: expert_upcycling}}]}}\n" for i in range(30))
    (found,) = findings(f"{HEAD}stages:\n{stages}  - {{name: t, from: qqq, grow: [{{op: expert_upcycling}}]}}\n")
    assert found.code == "GROW121"
    assert found.help.endswith("`s10`, `s11` and 19 more")


def test_unreadable_files(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.growth.yaml", tmp_path, Path("a\0b")):
        with pytest.raises(GrowcError) as caught:
            load(path)
        assert [d.code for d in caught.value.diagnostics] == ["GROW001"]
        assert caught.value.exit_code is ExitCode.CANNOT_RUN


def test_large_files(tmp_path: Path) -> None:
    path = tmp_path / "a.growth.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(GrowcError) as caught:
        load(path)
    assert [d.code for d in caught.value.diagnostics] == ["GROW002"]


@pytest.mark.parametrize(
    ("data", "line", "column"),
    [
        (b"growth: 1\nname: \xff\n", 2, 7),
        ("growth: 1\r\nname: é".encode() + b"\xc3", 2, 8),
        ("growth: 1\n".encode("utf-16"), 1, 1),
        (b"\xef\xbb\xbfname: \x80\n", 1, 7),
    ],
)
def test_other_encodings(data: bytes, line: int, column: int, findings: Findings) -> None:
    (found,) = findings(data)
    assert found.span is not None
    assert (found.code, found.span.line, found.span.column) == ("GROW003", line, column)

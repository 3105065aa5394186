"""The human form of diagnostics: the caret stands under the place, whatever the line holds."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from growc.diagnostics import Diagnostic, Severity, Span
from growc.diagnostics.render import WIDTH, excerpt, render


def test_the_whole_form() -> None:
    text = "stages:\n  - copies: 0\n"
    diagnostic = Diagnostic("GROW104", "`copies` must be at least 2", "2 doubles the depth", Span("a.yaml", 2, 13))
    assert render(diagnostic, {"a.yaml": text}) == (
        "a.yaml:2:13  GROW104  `copies` must be at least 2\n"
        "    2 |   - copies: 0\n"
        "      |             ^\n"
        "   help: 2 doubles the depth"
    )


def test_without_place_help_or_text() -> None:
    assert render(Diagnostic("GROW001", "cannot read x"), {}) == "GROW001  cannot read x"
    placed = Diagnostic("GROW104", "no", "", Span("nowhere.yaml", 3, 1), Severity.WARNING)
    assert render(placed, {}) == "nowhere.yaml:3:1  GROW104  warning: no"
    assert render(placed, {"nowhere.yaml": "one line"}) == "nowhere.yaml:3:1  GROW104  warning: no"


def test_the_file_is_read_when_its_text_is_not_given(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: \xff2\rc: 3")
    shown = render(Diagnostic("GROW104", "no", span=Span(str(path), 3, 4)), {})
    assert shown.splitlines()[1:] == ["    3 | c: 3", "      |    ^"]
    assert "b: \N{REPLACEMENT CHARACTER}2" in render(Diagnostic("GROW104", "no", span=Span(str(path), 2, 4)), {})


def test_an_override() -> None:
    shown = render(Diagnostic("GROW101", "no", span=Span("--set", 2, 10, 3)), {"--set": "name=x\ntraining.sed=3"})
    assert shown.splitlines()[1:] == ["    2 | training.sed=3", "      |          ^^^"]


def test_carets_span_the_value_and_stop_at_the_end_of_the_line() -> None:
    assert excerpt("a: bcd", Span("f", 7, 4, 3))[1] == "      |    ^^^"
    assert excerpt("a: bcd", Span("f", 7, 4, 90))[1] == "      |    ^^^"
    assert excerpt("a:", Span("f", 7, 3))[1] == "      |   ^"
    assert excerpt("", Span("f", 7, 50)) == ["    7 |", "      | ^"]


def test_tabs_and_wide_characters() -> None:
    assert excerpt("\tab", Span("f", 1, 2)) == ["    1 |     ab", "      |     ^"]
    assert excerpt("a\tb", Span("f", 1, 3)) == ["    1 | a   b", "      |     ^"]
    assert excerpt("日本: x", Span("f", 1, 5)) == ["    1 | 日本: x", "      |       ^"]
    assert excerpt("日本: x", Span("f", 1, 1, 2))[1] == "      | ^^^^"
    assert excerpt("e\u0301: x", Span("f", 1, 5))[1] == "      |    ^"


def test_what_a_terminal_would_act_upon_is_shown_harmless() -> None:
    shown = render(Diagnostic("GROW104", "bad \x1b[31m", "a\nb", Span("f", 1, 1)), {"f": "\x1b[31mred"})
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown
    assert shown.endswith("help: a\n         b")


def test_long_lines_are_cut_around_the_caret() -> None:
    line = "".join(f"{i:04d} " for i in range(500))
    text, carets = excerpt(line, Span("f", 1, 1501, 4))
    assert "0300" in text
    assert text[carets.index("^") : carets.index("^") + 4] == "0300"
    assert text.count("…") == 2
    assert len(text) <= WIDTH + 10
    assert "…" not in excerpt(line, Span("f", 1, 1))[0][:20]


_CHARACTERS = st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])


@given(st.text(_CHARACTERS, max_size=300), st.integers(1, 320), st.integers(1, 50))
def test_the_caret_is_under_its_character(line: str, column: int, length: int) -> None:
    text, carets = excerpt(line, Span("f", 1, column, length))
    assert "\n" not in text
    assert carets.strip(" |^") == ""
    if column <= len(line) and line[column - 1].isprintable() and not unicodedata.combining(line[column - 1]):
        columns = [c for c in text for _ in range(_columns(c))]
        position = carets.index("^")
        # Trailing blanks of a line are not printed.
        assert line[column - 1] == (columns[position] if position < len(columns) else " ")


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1

"""Whatever the text, the answer is a spec or diagnostics with places inside the text, never anything else."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from growc.diagnostics import Diagnostic, GrowcError
from growc.diagnostics.render import render
from tests.spec.conftest import Load
from tests.spec.examples import FULL, SMALL, SWEPT

_CHARACTERS = "{}[]:,&*!|>'\"%@`#-?~<= \t\n\\.0123abcé日"
_SYNTAX = [*_CHARACTERS, "- ", ": ", "<<: ", "*a ", "&a ", "!!int ", "---\n", "\\U"]
_VALUES = [
    "null", "true", "-1", "0", "1e999", ".inf", ".nan", "14e9", "2.5", "''", "[]", "{}", "[[]]", "all",
    "auto", "{a: 1}", "!!str 3", "[1, a]", "{op: x}", "{name: sgd}", "{kind: text}", "{rule: greedy}",
    "x" * 300, "9" * 400,
]  # fmt: skip
_KEYS = [
    "growth", "name", "model", "data", "training", "stages", "parallel", "train", "grow", "op", "steps",
    "factor", "from", "optimizer", "schedule", "allocation", "validation", "parts", "layers", "router",
    "invariants", "loss", "sweep",
]  # fmt: skip


def _answer(load_text: Load, text: str | bytes, *overrides: str) -> None:
    found: tuple[Diagnostic, ...] = ()
    try:
        loaded = load_text(text, overrides)
        assert loaded.spans[()] == loaded.span()
    except GrowcError as error:
        found = error.diagnostics
    lines = len(re.split(b"\r\n|\r|\n", text.encode() if isinstance(text, str) else text))
    for diagnostic in found:
        span = diagnostic.span
        assert diagnostic.message
        assert diagnostic.help
        assert span is not None
        assert span.column > 0
        assert 0 < span.line <= lines or span.file == "--set"
        assert render(diagnostic, {}).startswith(f"{span.file}:{span.line}:{span.column}  {diagnostic.code}")


@given(st.text())
def test_any_text(load_text: Load, text: str) -> None:
    _answer(load_text, text.encode("utf-8", "surrogatepass"))


@given(st.binary())
def test_any_bytes(load_text: Load, data: bytes) -> None:
    _answer(load_text, data)


@given(st.lists(st.sampled_from(_SYNTAX), max_size=40).map("".join))
def test_any_syntax(load_text: Load, text: str) -> None:
    _answer(load_text, text)


@given(st.sampled_from([FULL, SMALL, SWEPT]), st.data())
def test_characters_of_a_spec_changed(load_text: Load, text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 6))
        text = text[:start] + data.draw(st.sampled_from(_SYNTAX)) + text[start + length :]
    _answer(load_text, text)


@given(st.sampled_from([FULL, SMALL, SWEPT]), st.data())
def test_words_of_a_spec_changed(load_text: Load, text: str, data: st.DataObject) -> None:
    words = text.split(" ")
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(words) - 1))
        words[where] = data.draw(st.sampled_from(_VALUES + [f"{key}:" for key in _KEYS]))
    _answer(load_text, " ".join(words))


_STEPS = st.sampled_from(_KEYS) | st.sampled_from(["[0]", "[1]", "[7]", "[first]", "[-1]", "[]", "..", "é"])
_PATHS = st.lists(_STEPS, min_size=1, max_size=5).map(lambda steps: ".".join(steps).replace(".[", "["))


@given(_PATHS, st.sampled_from(_VALUES) | st.text(max_size=10))
def test_any_override(load_text: Load, path: str, value: str) -> None:
    _answer(load_text, SMALL, f"{path}={value}")


@given(st.text(max_size=30))
def test_any_text_as_override(load_text: Load, text: str) -> None:
    _answer(load_text, SMALL, text)

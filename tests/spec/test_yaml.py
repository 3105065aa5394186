"""YAML 1.2, strictly: what texts mean, what round trips, and that hostile texts are answered fast."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from growc.spec.compose import Origin
from growc.spec.nodes import Plain, nearest, plain
from growc.spec.scalars import tag_of
from growc.spec.yaml import parse


def read(text: str) -> Plain:
    node, diagnostics = parse(text, Origin("test.yaml"))
    assert not diagnostics
    return plain(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e-3", 1e-3),
        ("14e9", 14e9),
        ("+1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("0x10", 16),
        ("0o17", 15),
        ("017", 17),
        ("-7", -7),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("2026-11-22", "2026-11-22"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("OFF", "OFF"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("nULL", "nULL"),
        ("=", "="),
        ("inf", "inf"),
        (".nan.", ".nan."),
        ("'3'", "3"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ("!!str 3", "3"),
        ("!!float 3", 3.0),
        ("!!int 3", 3),
        ("! 3", "3"),
        ("!!map {a: 1}", {"a": 1}),
        ("{a:1, b: 2}", {"a:1": None, "b": 2}),
        ('{"a":1}', {"a": 1}),
        ("%YAML 1.2\n---\na: 1\n...\n", {"a": 1}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("? a\n: 1\n", {"a": 1}),
        ("on: off", {"on": "off"}),
        ("<<", "<<"),
        ("'<<': 1", {"<<": 1}),
    ],
)
def test_values(text: str, value: Plain) -> None:
    found = read(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number() -> None:
    found = read(".NaN")
    assert isinstance(found, float)
    assert math.isnan(found)


def test_merges() -> None:
    text = """
    a: &a {x: 1, y: 1}
    b: &b {y: 2, z: 2}
    own: {x: 9, <<: *a}
    several: {<<: [*b, *a], w: 0}
    chained: {<<: {<<: *a, y: 5}}
    """
    found = read(text)
    assert isinstance(found, dict)
    assert found["own"] == {"x": 9, "y": 1}
    assert found["several"] == {"w": 0, "y": 2, "z": 2, "x": 1}
    assert found["chained"] == {"x": 1, "y": 5}


def test_aliases_are_copies() -> None:
    found = read("a: &a [1]\nb: *a\n")
    assert isinstance(found, dict)
    assert found["a"] == found["b"]
    assert found["a"] is not found["b"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_whatever_ends_them(line_end: str) -> None:
    node, _ = parse(line_end.join(["a: 1", "b:", "  é: [1, 日, x]"]), Origin("f"))
    span = nearest(node, ("b", "é", 2)).span
    assert (span.line, span.column, span.length) == (3, 13, 1)


class _Dumper(yaml.SafeDumper):
    """PyYAML's writer, which quotes what YAML 1.2 would read as something else than a text."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return tag_of(value)
        return super().resolve(kind, value, implicit)

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "on",
        "yes",
        "3e-4",
        "1e3",
        "0o7",
        "017",
        "~",
        "null",
        ".inf",
        "<<",
        "1:30",
        "- a",
        "a: b",
        "#",
        "",
        "\t",
        "'",
    ]
)
_SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | _TEXTS
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES, st.booleans())
def test_what_is_written_is_read(value: Plain, flow: bool) -> None:
    assert read(yaml.dump(value, Dumper=_Dumper, default_flow_style=flow, sort_keys=False)) == value


@given(_VALUES.filter(lambda value: "inf" not in repr(value)))
def test_json_is_yaml(value: Plain) -> None:
    assert read(json.dumps(value)) == value


_BOMBS = {
    "aliases": "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
    "wide aliases": "a: &a [" + "x," * 9000 + "]\nb: [" + "*a," * 9000 + "]\n",
    "merges": "a: &a {" + ",".join(f"k{i}: 1" for i in range(5000)) + "}\nb: {<<: [" + "*a," * 9000 + "]}\n",
    "lists": "[" * 400_000,
    "mappings": "{a: " * 100_000,
    "dashes": "- " * 200_000,
    "questions": "? " * 200_000,
    "lines": "".join(" " * i + "a:\n" for i in range(900)),
    "items": "[" + "1," * 200_000 + "]",
}


_ANSWER_BOMBS = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (200 * 2**20, 200 * 2**20))
from growc.diagnostics import GrowcError
from growc.spec.compose import Origin
from growc.spec.yaml import parse
for name, text in json.load(sys.stdin).items():
    try:
        parse(text, Origin(name))
    except GrowcError as error:
        print(name, *(d.code for d in error.diagnostics), sep=",")
"""


@pytest.mark.process
def test_bombs_are_refused_at_once_and_within_200_megabytes() -> None:
    # The limit on memory is the process's own: ru_maxrss of a child starts at its parent's on Linux. That on time is
    # for all of them together: one bomb that went off would take longer than the machine lasts.
    program = [sys.executable, "-c", _ANSWER_BOMBS]
    done = subprocess.run(program, input=json.dumps(_BOMBS), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    answers = [line.split(",") for line in done.stdout.splitlines()]
    assert [name for name, *_ in answers] == list(_BOMBS)
    for name, code in answers:
        assert code == "GROW012", name

"""JSON read strictly: what two readers could take for two things is refused, and nothing is waited for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from growc.files.strict import Twice, depth, parse, read_bytes

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, st.booleans())
def test_json_is_read_as_it_is(value: object, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="surrogate"):
            parse(json.dumps(value).encode())
        return
    assert parse(data) == value


@given(st.binary())
def test_any_bytes_are_json_or_a_value_error(data: bytes) -> None:
    try:
        parse(data)
    except ValueError:
        return


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"{} {}", b"\xff", b'"\\ud800"', b'{"\\udfff": 1}', b"[" * 100_000, b"9" * 5000, "{}".encode("utf-16")],
    ids=["empty", "half", "two", "no UTF-8", "surrogate", "surrogate key", "deep", "long number", "UTF-16"],
)
def test_what_is_no_json(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the words are Python's own)
        parse(text)


def test_a_key_given_twice_is_named() -> None:
    with pytest.raises(Twice, match="'b' is given twice"):
        parse(b'{"a": {"b": 1, "c": 2, "b": 3}}')


def test_a_key_given_twice_among_many_is_found_at_once() -> None:
    keys = ",".join(f'"{number}":0' for number in range(100_000))
    with pytest.raises(Twice, match="99999"):
        parse(f'{{{keys},"99999":0}}'.encode())


@pytest.mark.parametrize(("value", "deep"), [(1, 0), ([], 0), ([1], 1), ([[], 1], 1), ({"a": {"b": [1]}}, 3)])
def test_depth(value: object, deep: int) -> None:
    assert depth(value) == deep


def test_a_link_is_followed_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"text")
    (tmp_path / "link").symlink_to("blob")
    assert read_bytes(tmp_path / "link") == b"text"
    assert read_bytes(tmp_path / "link", 4) == b"text"
    with pytest.raises(OSError, match="More than 3 bytes"):
        read_bytes(tmp_path / "link", 3)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "nothing", "loop"])
def test_nothing_but_a_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(kind)
        case _:
            pass
    with pytest.raises(OSError):  # noqa: PT011  (which one is the system's choice)
        read_bytes(path)

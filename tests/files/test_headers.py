"""Safetensors headers: what the library writes is read alike, and nothing else passes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from growc.diagnostics import GrowcError
from growc.files.headers import read_header

NAMES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=12)
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
DTYPES = st.sampled_from(["float32", "float16", "int8", "int64", "bool"])

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def entry(start: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end], **changes}


def write(path: Path, header: bytes | dict[str, Any], data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(GrowcError) as caught:
        read_header(path)
    assert [d.code for d in caught.value.diagnostics] == ["GROW208"]
    return str(caught.value)


@same_folder
@given(st.dictionaries(NAMES.filter(lambda name: name != "__metadata__"), st.tuples(SHAPES, DTYPES), max_size=5))
def test_reads_what_the_library_writes(tmp_path: Path, tensors: dict[str, tuple[tuple[int, ...], str]]) -> None:
    path = tmp_path / "model.safetensors"
    save_file({name: np.zeros(shape, dtype) for name, (shape, dtype) in tensors.items()}, path, {"format": "pt"})
    header = read_header(path)
    assert {name: entry.shape for name, entry in header.tensors.items()} == {
        name: array.shape for name, array in load_file(path).items()
    }
    assert header.metadata == {"format": "pt"}
    assert header.size == path.stat().st_size


@same_folder
@given(st.integers(0, 200))
def test_every_truncation_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(7, dtype="float32"), "b": np.zeros((2, 3), "int8")}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: min(kept, len(whole) - 1)])
    refusal(path)


@same_folder
@given(st.data())
def test_a_changed_byte_is_refused_or_keeps_the_file_covered(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.arange(7, dtype="float32"), "b": np.zeros((2, 3), "int8")}, path)
    whole = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(whole) - 35))
    whole[where] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        header = read_header(path)
    except GrowcError:
        return
    ends = [entry.end for entry in header.tensors.values()]
    assert sum(entry.end - entry.start for entry in header.tensors.values()) == 34
    assert ends == sorted(ends)
    assert ends[-1] == len(whole)


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        pytest.param(b' {"a": 1}', b"", "brace", id="a space before the brace"),
        pytest.param(b"{", b"", "not JSON", id="half an object"),
        pytest.param(b'{"a": "\xff"}', b"", "not JSON", id="not UTF-8"),
        pytest.param(b"{" + b'"a":[' * 100_000, b"", "not JSON", id="nested without end"),
        pytest.param(b'{} {"a": 1}', b"", "not JSON", id="two objects"),
        pytest.param(b'{"a": 1, "a": 1}', b"", "given twice", id="a tensor twice"),
        pytest.param({"a": 1}, b"", "other fields", id="a number for a tensor"),
        pytest.param({"a": entry(0, 8, more=1)}, bytes(8), "other fields", id="a field too many"),
        pytest.param({"a": entry(0, 8, dtype="F31")}, bytes(8), "unknown dtype", id="an unknown dtype"),
        pytest.param({"a": entry(0, 8, dtype=["F32"])}, bytes(8), "unknown dtype", id="a list for a dtype"),
        pytest.param({"a": entry(0, 8, shape=[-2])}, bytes(8), "a shape", id="a negative length"),
        pytest.param({"a": entry(0, 8, shape=[2.0])}, bytes(8), "a shape", id="a fraction for a length"),
        pytest.param({"a": entry(0, 8, shape=[True, 2])}, bytes(8), "a shape", id="a boolean for a length"),
        pytest.param({"a": entry(0, 8, shape=[3])}, bytes(8), "the bytes", id="too few bytes for the shape"),
        pytest.param({"a": entry(0, 0, shape=[0, 2**63])}, b"", "no file has", id="a length beyond 64 bits"),
        pytest.param({"a": entry(0, 8, shape=[2**62] * 10**6)}, bytes(8), "no file has", id="a shape without end"),
        pytest.param({"a\ud800": entry(0, 8)}, bytes(8), "surrogate", id="half a surrogate pair in a name"),
        pytest.param({"a": entry(0, 1, dtype="F4", shape=[3])}, bytes(1), "the bytes", id="half a byte"),
        pytest.param({"a": entry(8, 0, shape=[0])}, bytes(8), "the bytes", id="offsets that go back"),
        pytest.param({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12), "overlap", id="an overlap"),
        pytest.param({"a": entry(0, 8), "b": entry(0, 8)}, bytes(8), "overlap", id="the same bytes twice"),
        pytest.param({"a": entry(0, 8), "b": entry(12, 16)}, bytes(16), "hole", id="a hole"),
        pytest.param({"a": entry(4, 8)}, bytes(8), "hole", id="a hole at the start"),
        pytest.param({"a": entry(0, 8)}, bytes(4), "cut short", id="data cut short"),
        pytest.param({"a": entry(0, 8)}, bytes(9), "after its last", id="bytes left over"),
        pytest.param({"": entry(0, 8)}, bytes(8), "named", id="an empty name"),
        pytest.param({"a\0b": entry(0, 8)}, bytes(8), "named", id="a NUL in a name"),
        pytest.param({"__metadata__": {"a": 1}}, b"", "metadata", id="a number in the metadata"),
        pytest.param({"__metadata__": []}, b"", "metadata", id="a list for the metadata"),
    ],
)  # fmt: skip
def test_what_the_format_forbids(tmp_path: Path, header: Any, data: bytes, message: str) -> None:
    assert message in refusal(write(tmp_path / "model.safetensors", header, data))


def test_trailing_spaces_in_the_header_are_padding(tmp_path: Path) -> None:
    text = json.dumps({"a": entry(0, 8)}).encode() + b"   "
    assert list(read_header(write(tmp_path / "m", text, bytes(8))).tensors) == ["a"]


@pytest.mark.parametrize("length", [2**63, 101_000_000, 5])
def test_an_announced_length_beyond_the_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    assert "announces" in refusal(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in refusal(tmp_path / "pipe")


def test_a_missing_file(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "nothing")

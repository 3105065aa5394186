"""A plan on disk: read as it was written, or refused."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from growc.diagnostics import GrowcError
from growc.files.plan import Copied, Made, OutputFile, Plan, PlannedTensor, Source, Zeros, header_text
from growc.files.planfile import PLAN, plan_key, read_plan, write_plan

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_NUMBERS = st.integers(0, 2**50)
_PARTS = st.one_of(
    st.builds(Copied, st.integers(0, 1), st.integers(0, 50), st.integers(0, 50)),
    st.builds(Zeros, _NUMBERS),
    st.builds(Made, _NUMBERS, st.just("ab" * 16)),
)
_TENSORS = st.builds(
    lambda name, parts: PlannedTensor(name, "U8", (1, sum(part.length for part in parts)), tuple(parts)),
    _TEXT,
    st.lists(_PARTS, max_size=3),
)
_OUTPUTS = st.builds(
    lambda tensors, more: OutputFile("model.safetensors", (len(header_text(tensors)) // 8 + more) * 8, tuple(tensors)),
    st.lists(_TENSORS, max_size=4),
    st.integers(1, 10_000),
) | st.builds(
    lambda name, tensors: OutputFile(name, None, tuple(tensors)),
    st.sampled_from(["__0_0.distcp", ".metadata"]),
    st.lists(_TENSORS, max_size=4),
)
_SOURCES = st.tuples(*[st.builds(Source, _TEXT, st.integers(100, 10**15), _NUMBERS, _TEXT)] * 2)
_PLANS = st.builds(Plan, _TEXT, _NUMBERS, _SOURCES, st.lists(_OUTPUTS, max_size=3).map(tuple))


@settings(max_examples=30)
@given(_PLANS)
def test_a_plan_reads_as_it_was_written(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_plan(folder, plan)
        assert read_plan(folder) == plan
        assert plan_key(folder) == plan.key
        assert [path.name for path in folder.iterdir()] == [PLAN]


def plan() -> Plan:
    tensors = (
        PlannedTensor("a", "BF16", (2, 3), (Copied(0, 8, 12),)),
        PlannedTensor("b", "U8", (7,), (Zeros(3), Made(4, "0" * 32))),
    )
    return Plan("key", 13, (Source("/model.safetensors", 20, 1, "00"),), (OutputFile("m.safetensors", 64, tensors),))


def refused(folder: Path) -> str:
    with pytest.raises(GrowcError) as caught:
        read_plan(folder)
    assert [d.code for d in caught.value.diagnostics] == ["GROW652"]
    return str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path, plan())
    whole = (tmp_path / PLAN).read_bytes()
    for kept in range(len(whole)):
        (tmp_path / PLAN).write_bytes(whole[:kept])
        refused(tmp_path)


def test_every_altered_byte_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path, plan())
    whole = (tmp_path / PLAN).read_bytes()
    for where in range(len(whole)):
        for bit in (1, 4, 32):
            altered = bytearray(whole)
            altered[where] ^= bit
            (tmp_path / PLAN).write_bytes(altered)
            refused(tmp_path)


def test_a_lost_line_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path, plan())
    lines = (tmp_path / PLAN).read_bytes().splitlines(keepends=True)
    for lost in range(len(lines)):
        (tmp_path / PLAN).write_bytes(b"".join(lines[:lost] + lines[lost + 1 :]))
        refused(tmp_path)


def test_a_missing_plan(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path)
    assert plan_key(tmp_path) is None
    (tmp_path / PLAN).write_text("[]\n")
    assert plan_key(tmp_path) is None


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [
        (0, '"key":"key"', '"key":1'),
        (0, '["/model.safetensors",20,', '["/model.safetensors",-20,'),
        (0, '["/model.safetensors",20,', "[1,20,"),
        (0, '["m.safetensors",64,2]', '["../m.safetensors",64,2]'),
        (0, '["m.safetensors",64,2]', '["m\\ud800.safetensors",64,2]'),
        (0, '["m.safetensors",64,2]', '["m.safetensors",null,2]'),
        (0, '["m.safetensors",64,2]', '["m.distcp",64,2]'),
        (0, '["m.safetensors",64,2]', '["m.safetensors",64,3]'),
        (0, '["m.safetensors",64,2]', '["m.safetensors",64,1]'),
        (0, '["m.safetensors",64,2]', '["m.safetensors",64,99999999999999999999]'),
        (0, '["m.safetensors",64,2]', '["m.safetensors",8,2]'),
        (0, '["m.safetensors",64,2]', '["m.safetensors",1125899906842624,2]'),
        (1, '"a"', '["a"]'),
        (1, '["a","BF16",[2,3]', '["\\ud800","BF16",[2,4]'),
        (1, '"BF16"', '"BF17"'),
        (1, "[2,3]", "[-2,-3]"),
        (1, "[2,3]", "[2,3.0]"),
        (1, '["copied",12,0,8]', '["copied",12,0,9]'),
        (1, '["copied",12,0,8]', '["copied",12,1,8]'),
        (1, '["copied",12,0,8]', '["copied",12,0,true]'),
        (2, '["zeros",3]', '["zeros",-3]'),
        (2, '["zeros",3]', '["holes",3]'),
        (2, '"00000000000000000000000000000000"', '"x"'),
        (2, '"00000000000000000000000000000000"', '""'),
    ],
)
def test_a_plan_that_proves_itself_and_makes_no_sense_is_refused(tmp_path: Path, line: int, old: str, new: str) -> None:
    whole = plan()
    roomy = replace(whole, outputs=tuple(replace(output, header=256) for output in whole.outputs))
    write_plan(tmp_path, roomy)
    lines = (tmp_path / PLAN).read_text().splitlines()[:-1]
    changed = lines[line].replace(old.replace("64", "256"), new.replace("64", "256"))
    assert changed != lines[line]
    lines[line] = changed
    text = "".join(f"{one}\n" for one in lines).encode()
    last = {"lines": len(lines), "xxh3_128": xxhash.xxh3_128_hexdigest(text)}
    (tmp_path / PLAN).write_bytes(text + json.dumps(last, separators=(",", ":")).encode() + b"\n")
    assert "damaged" in refused(tmp_path)

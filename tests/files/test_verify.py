"""Verification: every flipped byte is found, in what was just written and in what was kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growc.diagnostics import Diagnostic, GrowcError
from growc.files import move
from growc.files.atomic import read_json, write_json
from growc.files.folder import INDEX
from growc.files.manifest import MANIFEST
from growc.files.staging import open_staging
from growc.files.verify import verify
from tests.files.growths import experts, files, growths, write_source

FIRST = "model-00001-of-00002.safetensors"


def faults(call: Callable[[], object]) -> tuple[Diagnostic, ...]:
    with pytest.raises(GrowcError) as caught:
        call()
    return caught.value.diagnostics


@settings(max_examples=20)
@given(st.data())
def test_what_was_grown_verifies_and_no_flipped_byte_does(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        growth = data.draw(growths(Path(folder)))
        growth.grow(verify=True)
        found = verify(growth.to, workers=data.draw(st.sampled_from([1, 3])))
        assert found.tensors == len(growth.tensors)
        assert found.bytes == sum(map(len, growth.expected().values()))
        paths = sorted(growth.to.glob("*.safetensors"))
        for _ in range(5):
            path, where = data.draw(st.sampled_from(paths)), data.draw(st.integers(0, 2**40))
            flip(path, where)
            codes = {fault.code for fault in faults(lambda: verify(growth.to))}
            assert codes <= {"GROW657", "GROW208", "GROW209"}
            flip(path, where)
        verify(growth.to)


def flip(path: Path, where: int) -> None:
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[where % len(data)] ^= 1 << where % 8
    path.write_bytes(data)


@settings(max_examples=20)
@given(st.data())
def test_no_bit_is_written_wrongly_unnoticed(data: st.DataObject) -> None:
    """Headers, copies, zeros and computed parts alike."""
    with tempfile.TemporaryDirectory() as folder:
        growth = data.draw(growths(Path(folder)))
        with open_staging(growth.to, growth.key) as (aside, _), pytest.MonkeyPatch.context() as patch:
            growth.prepare(aside)
            real = move.fill

            def filled(*arguments: Any) -> None:
                real(*arguments)
                flip(data.draw(st.sampled_from(sorted(aside.glob("*.safetensors")))), data.draw(st.integers(0, 2**40)))

            patch.setattr(move, "fill", filled)
            found = faults(lambda: move.finish(aside, growth.to, verify=True, workers=2))
            assert [fault.code for fault in found] == ["GROW655"]
        assert not growth.to.exists()
        assert not growth.aside.exists(), "what is wrong is not gone on with"
        growth.grow(verify=True)
        verify(growth.to)


def test_the_manifest_says_where_every_byte_came_from(tmp_path: Path) -> None:
    growth = experts(tmp_path, count=3)
    growth.grow(verify=True)
    manifest = read_json(growth.to / MANIFEST)
    assert sorted(manifest) == list(manifest) == ["beside", "files", "manifest", "sources", "tensors"]
    assert list(manifest["tensors"]) == sorted(growth.expected())
    assert str(tmp_path) not in (growth.to / MANIFEST).read_text()
    assert [source["name"] for source in manifest["sources"]] == [Path(s.path).name for s in growth.sources]
    original, copy = (manifest["tensors"][f"layers.1.experts.{n:03}.w"] for n in (0, 3))
    assert original == copy
    (origin,) = original["from"]
    assert origin["xxh3_128"] == original["xxh3_128"]
    assert origin["source"] == "model-00002-of-00002.safetensors"
    gate = manifest["tensors"]["layers.0.gate"]["from"]
    assert [part["length"] for part in gate] == [3000, 100, 3000, 50]
    assert (gate[1].get("zeros"), gate[3].get("computed")) == (True, True)


def test_equal_growths_have_equal_manifests(tmp_path: Path) -> None:
    found: list[dict[str, bytes]] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        growth = experts(tmp_path / name)
        growth.grow(verify=True, workers=len(found) + 1)
        found.append(files(growth.to))
    assert found[0] == found[1]


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    growth = experts(tmp_path, count=3)
    growth.grow(verify=True)
    return growth.to


def test_every_difference_is_told(grown: Path) -> None:
    for name, where in ((FIRST, -1), (FIRST, -4000), ("model-00002-of-00002.safetensors", -1)):
        flip(grown / name, (grown / name).stat().st_size + where)
    found = faults(lambda: verify(grown))
    assert [fault.code for fault in found] == ["GROW657"] * 3
    assert len({fault.message for fault in found}) == 3


def test_tensors_that_are_not_in_the_manifest_and_the_other_way_round(grown: Path) -> None:
    manifest = read_json(grown / MANIFEST)
    manifest["tensors"]["other"] = manifest["tensors"].pop("layers.0.gate")
    manifest["tensors"]["layers.1.gate"]["file"] = FIRST
    write_json(grown / MANIFEST, manifest)
    messages = sorted(fault.message for fault in faults(lambda: verify(grown)))
    assert len(messages) == 3
    assert "layers.0.gate in" in messages[0] and "not in growc.manifest.json" in messages[0]
    assert "layers.1.gate lies in" in messages[1]
    assert "other is missing" in messages[2]


def test_files_that_are_not_in_the_manifest_and_the_other_way_round(grown: Path) -> None:
    shutil.copy(grown / FIRST, grown / "more.safetensors")
    (found,) = faults(lambda: verify(grown))
    assert "more.safetensors was no part" in found.message
    (grown / "more.safetensors").unlink()
    write_source(grown / "model.safetensors", {"layers.0.gate": ("U8", [1], b"1")})
    messages = [fault.message for fault in faults(lambda: verify(grown))]
    assert sum("is missing" in message for message in messages) >= 2
    (grown / "model.safetensors").unlink()
    verify(grown)


def test_an_index_that_disagrees_with_the_headers(grown: Path) -> None:
    index = read_json(grown / INDEX)
    del index["weight_map"]["layers.0.gate"]
    write_json(grown / INDEX, index)
    assert [fault.code for fault in faults(lambda: verify(grown))] == ["GROW209"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{}",
        "[]",
        '{"manifest": 2}',
        '{"manifest": 1, "files": [], "tensors": 1}',
        '{"manifest": 1, "files": {"model.safetensors": {"size": 1e999, "header": ""}}, "tensors": {}}',
        '{"manifest": 1, "files": {"model.safetensors": {"size": -1, "header": ""}}, "tensors": {}}',
    ],
)
def test_without_a_manifest(grown: Path, text: str | None) -> None:
    if text is None:
        (grown / MANIFEST).unlink()
    else:
        (grown / MANIFEST).write_text(text)
    assert [fault.code for fault in faults(lambda: verify(grown))] == ["GROW656"]


def test_a_folder_that_cannot_be_read(grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("growc.files.verify.range_digest", fails)
    assert [fault.code for fault in faults(lambda: verify(grown))] == ["GROW646"]
    monkeypatch.undo()
    monkeypatch.setattr("growc.files.copying.os.preadv", lambda *_: 0)
    assert [fault.code for fault in faults(lambda: verify(grown))] == ["GROW646"]

"""Distributed checkpoints that are damaged, incomplete or hostile: refused by name before a byte is written."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
)

from growc.checkpoint import prepare
from growc.diagnostics import GrowcError
from growc.files.distributed import INDEX
from tests.checkpoint.distributed import distribute, index_of, save
from tests.checkpoint.folders import Place, place, source_model, write_spec
from tests.checkpoint.mutations.scene import in_time, snapshot
from tests.checkpoint.test_refusals import nothing_left, refused

NORM = "model.norm.weight"
SHARD = "__0_0.distcp"


class Hostile:
    """What a pickle makes of it is a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def there(tmp_path: Path) -> Place:
    there = place(tmp_path, "qwen3_moe", {})
    distribute(there.source)
    return there


def truncated(folder: Path) -> None:
    data = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(data[: len(data) // 2])


def missing_file(folder: Path) -> None:
    (folder / SHARD).unlink()


def folder_for_a_file(folder: Path) -> None:
    missing_file(folder)
    (folder / SHARD).mkdir()


def pipe_for_a_file(folder: Path) -> None:
    missing_file(folder)
    os.mkfifo(folder / SHARD)


def hostile_index(folder: Path) -> None:
    (folder / INDEX).write_bytes(pickle.dumps(Hostile(folder / "ran")))


def hostile_metadata(folder: Path) -> None:
    with index_of(folder) as index:
        index.planner_data = Hostile(folder / "ran")


def hostile_payload(folder: Path) -> None:
    exchange(folder, saved([torch.zeros(32), Hostile(folder / "ran")]))


def no_pickle(folder: Path) -> None:
    (folder / INDEX).write_bytes(b"{}")


def another_pickle(folder: Path) -> None:
    (folder / INDEX).write_bytes(pickle.dumps({"state_dict_metadata": {}}))


def a_path_outside(folder: Path) -> None:
    with index_of(folder) as index:
        index.storage_data[at(NORM)].relative_path = f"../{folder.name}/{SHARD}"


def missing_chunk(folder: Path) -> None:
    with index_of(folder) as index:
        index.storage_data.pop(at(NORM))


def half_a_tensor(folder: Path) -> None:
    with index_of(folder) as index:
        entry: Any = index.state_dict_metadata[NORM]
        entry.chunks = [ChunkStorageMetadata(torch.Size([0]), torch.Size([16]))]


def overlapping_chunks(folder: Path) -> None:
    with index_of(folder) as index:
        entry: Any = index.state_dict_metadata[NORM]
        entry.chunks = entry.chunks * 2


def negative_offset(folder: Path) -> None:
    with index_of(folder) as index:
        index.storage_data[at(NORM)].offset = -1


def another_place(folder: Path) -> None:
    with index_of(folder) as index:
        index.storage_data[at(NORM)] = index.storage_data[at("lm_head.weight", 2)]


def other_dtype(folder: Path) -> None:
    with index_of(folder) as index:
        entry: Any = index.state_dict_metadata[NORM]
        entry.properties = TensorProperties(torch.int32)


def through_an_extension(folder: Path) -> None:
    with index_of(folder) as index:
        index.storage_data[at(NORM)].transform_descriptors = ["zstd"]


def compressed_payload(folder: Path) -> None:
    exchange(folder, packed(saved(torch.zeros(32)), zipfile.ZIP_DEFLATED))


def big_endian_payload(folder: Path) -> None:
    exchange(folder, packed(saved(torch.zeros(32)), zipfile.ZIP_STORED, byteorder=b"big"))


def short_storage(folder: Path) -> None:
    exchange(folder, packed(saved(torch.zeros(32)), zipfile.ZIP_STORED, **{"data/0": bytes(64)}))


def a_list_for_a_tensor(folder: Path) -> None:
    exchange(folder, saved([torch.zeros(32)]))


def no_archive(folder: Path) -> None:
    exchange(folder, bytes(2000))


def twice(folder: Path) -> None:
    source_model("qwen3_moe").save_pretrained(folder)


def test_every_fault_is_told(there: Place) -> None:
    for spoil, words in FAULTS.items():
        shutil.copytree(there.source, there.root / "whole")
        spoil(there.source)
        with in_time():
            found = refused(there.grow)
        assert (found.code, words in found.message) == ("GROW663", True), (spoil, found)
        assert str(there.source) in found.message
        assert found.help
        assert not (there.source / "ran").exists()
        shutil.rmtree(there.source)
        (there.root / "whole").rename(there.source)
        assert nothing_left(there)


FAULTS: dict[Callable[[Path], None], str] = {
    truncated: "cut short",
    missing_file: "No such file",
    folder_for_a_file: "no regular file",
    pipe_for_a_file: "no regular file",
    hostile_index: "asks for posix.mkdir",
    hostile_metadata: "asks for posix.mkdir",
    hostile_payload: "Weights only load failed",
    no_pickle: INDEX,
    another_pickle: "no index",
    a_path_outside: "not beside it",
    missing_chunk: NORM,
    half_a_tensor: "leave a part of it out",
    overlapping_chunks: "hold one twice",
    negative_offset: "-1",
    another_place: f"holds {NORM} otherwise",
    other_dtype: f"holds {NORM} otherwise",
    through_an_extension: "extension",
    compressed_payload: "compressed",
    big_endian_payload: "another machine",
    short_storage: "64 bytes where its tensor has 128",
    a_list_for_a_tensor: "list where a tensor should be",
    no_archive: NORM,
    twice: "twice",
}


@pytest.mark.parametrize("prefix", ["", "model.", "app.model."])
def test_names_that_do_not_fit(there: Place, prefix: str) -> None:
    state = dict(source_model("qwen3_moe").state_dict())
    norm = state.pop(NORM)
    save(state, there.source, prefix)
    found = refused(there.grow)
    assert found.code == "GROW641"
    assert f"{prefix}{NORM} is missing" in found.message
    save({**state, NORM: norm, "surprise.weight": torch.zeros(2)}, there.source, prefix)
    found = refused(there.grow)
    assert found.code == "GROW641"
    assert f"{prefix}surprise.weight is no tensor of the model" in found.message
    assert nothing_left(there)


def test_two_prefixes_are_none(there: Place) -> None:
    state = dict(source_model("qwen3_moe").state_dict())
    save({f"{'a.' if 'layers.0' in name else 'b.'}{name}": tensor for name, tensor in state.items()}, there.source)
    assert refused(there.grow).code == "GROW641"


def test_what_is_no_tensor(there: Place) -> None:
    with index_of(there.source) as index:
        index.state_dict_metadata[NORM] = BytesStorageMetadata()
    found = refused(there.grow)
    assert (found.code, "no tensor" in found.message) == ("GROW663", True)
    save({**source_model("qwen3_moe").state_dict(), "step": 3}, there.source)
    found = refused(there.grow)
    assert (found.code, "step is no tensor of the model" in found.message) == ("GROW641", True)


def test_shapes_of_another_model(there: Place) -> None:
    save({**source_model("qwen3_moe").state_dict(), NORM: torch.zeros(31)}, there.source)
    found = refused(there.grow)
    assert (found.code, "[31]" in found.message) == ("GROW641", True)


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex128])
def test_dtypes_that_cannot_be_grown(there: Place, dtype: torch.dtype) -> None:
    save({**source_model("qwen3_moe").state_dict(), NORM: torch.zeros(32, dtype=dtype)}, there.source)
    assert refused(there.grow).code == "GROW647"


def test_too_little_space(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(there.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert refused(lambda: there.grow(layout="dcp")).code == "GROW643"
    assert nothing_left(there)


def test_a_spec_that_names_one_is_told_what_to_do(there: Place) -> None:
    spec = json.loads(there.spec.read_text())
    spec["model"] = {"path": "source"}
    there.spec.write_text(json.dumps(spec))
    found = refused(there.grow)
    assert found.code == "GROW209"
    assert "--layout published" in found.help


def test_a_source_that_becomes_shorter_while_it_is_read(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write_spec(there, "qwen3_moe", {"experts": {"init": "drop"}})
    real = prepare.write_config

    def shrinking(*arguments: Any) -> None:
        real(*arguments)
        truncated(there.source)

    monkeypatch.setattr(prepare, "write_config", shrinking)
    found = refused(there.grow)
    assert (found.code, SHARD in found.message) == ("GROW646", True)
    assert nothing_left(there)


@pytest.mark.parametrize("seed", [pytest.param(n, marks=() if n < 1 else pytest.mark.slow) for n in range(20)])
def test_whatever_is_flipped_or_cut_ends_with_a_diagnostic_or_a_growth(there: Place, seed: int) -> None:
    draw, before = random.Random(seed), snapshot(there.root)
    for name in (INDEX, INDEX, SHARD):
        path = there.source / name
        data, status = bytearray(path.read_bytes()), path.stat()
        for _ in range(draw.choice((1, 1, 8))):
            data[draw.randrange(len(data))] = draw.randrange(256)
        spoilt = data[: draw.choice((len(data), len(data), draw.randrange(len(data))))]
        whole = path.read_bytes()
        path.write_bytes(spoilt)
        assert codes_of(there.grow) <= {"GROW663", "GROW641", "GROW647"}
        shutil.rmtree(there.grown, ignore_errors=True)
        path.write_bytes(whole)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert snapshot(there.root).keys() == before.keys()


def codes_of(act: Callable[[], object]) -> set[str]:
    """Of the diagnostics with which it ends; none if it ends well."""
    try:
        with in_time():
            act()
    except GrowcError as error:
        return {found.code for found in error.diagnostics}
    return set()


def at(name: str, dims: int = 1) -> MetadataIndex:
    """The place of a tensor of one chunk in `storage_data`."""
    return MetadataIndex(name, torch.Size([0] * dims))


def saved(value: object) -> bytes:
    file = BytesIO()
    torch.save(value, file)
    return file.getvalue()


def packed(archive: bytes, compression: int, **changes: bytes) -> bytes:
    """An archive with other contents, or compressed."""
    file = BytesIO()
    with zipfile.ZipFile(BytesIO(archive)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for info in old.infolist():
            rest = info.filename.partition("/")[2]
            new.writestr(info.filename, changes.get(rest, old.read(info)))
    return file.getvalue()


def exchange(folder: Path, payload: bytes) -> None:
    """Another archive for that of the last norm."""
    with (folder / SHARD).open("ab") as file:
        start = file.tell()
        file.write(payload)
    with index_of(folder) as index:
        info = index.storage_data[at(NORM)]
        index.storage_data[at(NORM)] = replace(info, offset=start, length=len(payload))

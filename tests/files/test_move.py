"""Plans carried out: the bytes of a naive copy, whatever the number of threads and however often it was stopped."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from growc.diagnostics import Diagnostic, GrowcError
from growc.files import copying, fill
from growc.files.copying import Copier
from growc.files.folder import read_folder
from growc.files.move import finish
from growc.files.plan import Copied, PlannedTensor
from growc.files.progress import Progress
from growc.files.staging import open_staging
from tests.files.growths import Growth, as_source, experts, files, growths, written


def refused(call: Callable[[], object]) -> Diagnostic:
    with pytest.raises(GrowcError) as caught:
        call()
    (found,) = caught.value.diagnostics
    return found


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "CHUNK", 4096)
    monkeypatch.setattr(copying, "CONGRUENCE", 4096)


@settings(max_examples=25)
@given(st.data(), st.sampled_from([1, 2, 4]))
def test_any_plan_comes_to_the_bytes_of_a_naive_copy(data: st.DataObject, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        growth = data.draw(growths(Path(folder)))
        growth.grow(workers=workers, verify=data.draw(st.booleans()))
        assert written(growth.to) == growth.expected()
        assert not growth.aside.exists()
        assert read_folder(growth.to).location.keys() == growth.expected().keys()


def test_the_number_of_threads_does_not_show(tmp_path: Path) -> None:
    found: list[dict[str, bytes]] = []
    for workers in (1, 2, 4):
        (tmp_path / str(workers)).mkdir()
        growth = experts(tmp_path / str(workers))
        growth.grow(workers=workers)
        found.append(files(growth.to))
    assert found[0] == found[1] == found[2]
    assert sorted(found[0]) == [
        "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]  # fmt: skip


def test_the_index_and_the_reference_library_agree(tmp_path: Path) -> None:
    growth = experts(tmp_path)
    growth.grow()
    index = json.loads((growth.to / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_parameters": 7, "total_size": sum(map(len, growth.expected().values()))}
    assert list(index["weight_map"]) == sorted(growth.expected())
    for name, data in growth.expected().items():
        with safe_open(growth.to / index["weight_map"][name], framework="np") as opened:
            assert opened.get_tensor(name).tobytes() == data


def test_permissions_are_those_of_the_umask(tmp_path: Path) -> None:
    growth = experts(tmp_path)
    before = os.umask(0o027)
    try:
        growth.grow(verify=True)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in growth.to.iterdir()} == {0o640}
    assert growth.to.stat().st_mode & 0o777 == 0o750


def test_holes_stay_holes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    length = 32 << 20
    header = f'{{"t":{{"dtype":"U8","shape":[{length}],"data_offsets":[0,{length}]}}}}'.encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.seek(length // 2)
        file.write(b"in the middle")
        file.truncate(8 + len(header) + length)
    tensor = PlannedTensor("u", "U8", (length - 1,), (Copied(0, 9 + len(header), length - 1),))
    growth = Growth(tmp_path, (tensor,), (as_source(path),))
    growth.grow()
    assert written(growth.to) == growth.expected()
    assert (growth.to / "model.safetensors").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("answer", [errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_system_that_cannot_copy_within_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    calls: list[int] = []

    def unable(*_: Any) -> int:
        calls.append(1)
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(os, "copy_file_range", unable)
    growth = experts(tmp_path)
    growth.grow()
    assert written(growth.to) == growth.expected()
    assert len(calls) == 1, "a refusal is remembered"


def test_short_copies_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = {name: getattr(os, name) for name in ("copy_file_range", "preadv", "pwrite")}
    monkeypatch.setattr(os, "copy_file_range", lambda s, t, n, a, b: real["copy_file_range"](s, t, min(n, 999), a, b))
    monkeypatch.setattr(os, "preadv", lambda h, b, at: real["preadv"](h, [b[0][:777]], at))
    monkeypatch.setattr(os, "pwrite", lambda h, data, at: real["pwrite"](h, data[:555], at))
    growth = experts(tmp_path)
    growth.grow(verify=True)
    assert written(growth.to) == growth.expected()


def test_blocks_are_shared_where_the_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared: list[int] = []

    def clone(source: int, target: int, start: int, to: int, length: int) -> bool:
        assert start % 4096 == to % 4096 == length % 4096 == 0
        os.pwrite(target, os.pread(source, length, start), to)
        shared.append(length)
        return True

    monkeypatch.setattr(copying, "clone", clone)
    growth = experts(tmp_path, size=8192)
    growth.grow()
    assert written(growth.to) == growth.expected()
    assert sum(shared) > 0.4 * 2 * 2 * 24 * 8192


def count_calls(monkeypatch: pytest.MonkeyPatch, at: int, fault: BaseException | None = None) -> list[str]:
    """Let call number `at` of those that write or sync fail; the names of all calls so far."""
    calls: list[str] = []
    names = ("pwrite", "copy_file_range", "ftruncate", "fsync", "fdatasync", "rename")
    reals = {name: getattr(os, name) for name in names}
    for name in names:

        def counted(*arguments: Any, name: str = name) -> Any:
            calls.append(name)
            if len(calls) == at and fault:
                raise fault
            return reals[name](*arguments)

        monkeypatch.setattr(os, name, counted)
    return calls


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, bytes]]:
    """How many calls an undisturbed growth makes, and its files."""
    growth = experts(tmp_path_factory.mktemp("clean"), size=5000, count=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fill, "CHUNK", 4096)
        patch.setattr(copying, "CONGRUENCE", 4096)
        patch.setattr(fill, "SYNC_SECONDS", 0.0)
        calls = count_calls(patch, 0)
        growth.grow(workers=2)
    return len(calls), files(growth.to)


@pytest.mark.parametrize("share", range(1, 21))
def test_a_full_disk_at_any_moment_costs_nothing_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: int, clean: tuple[int, dict[str, bytes]]
) -> None:
    monkeypatch.setattr(fill, "SYNC_SECONDS", 0.0)
    growth = experts(tmp_path, size=5000, count=4)
    with monkeypatch.context() as patch:
        count_calls(patch, clean[0] * share // 20, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        found = refused(lambda: growth.grow(workers=2))
    assert found.code in ("GROW644", "GROW653")
    assert "No space left" in found.message
    assert growth.aside.exists() == (found.code == "GROW653" and not growth.to.exists())
    if not growth.to.exists():
        growth.grow(workers=2)
    assert files(growth.to) == clean[1]


def test_what_to_do_about_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = experts(tmp_path)
    told = {errno.ENOSPC: "free some", errno.EDQUOT: "free some", errno.EIO: "system's log", errno.EACCES: "mend"}
    for number, words in told.items():
        with monkeypatch.context() as patch:
            patch.setattr(Copier, "copy", _raises(OSError(number, os.strerror(number))))
            found = refused(growth.grow)
        assert found.code == "GROW653"
        assert words in found.help
        assert "model-0000" in found.message
    growth.grow()


def _raises(fault: BaseException) -> Callable[..., Any]:
    def raising(*_: Any) -> None:
        raise fault

    return raising


def test_pages_that_a_failed_sync_lost_are_copied_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = experts(tmp_path, shards=1)
    synced: list[int] = []
    real = os.fdatasync

    def fails_once(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 1:
            for path in growth.aside.glob("*.safetensors"):
                data = growth.outputs()[0].data
                with path.open("r+b") as file:
                    file.seek(data)
                    file.write(bytes(5000))  # the system dropped what it could not write
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(handle)

    monkeypatch.setattr(os, "fdatasync", fails_once)
    monkeypatch.setattr(fill, "SYNC_SECONDS", 0.0)
    assert refused(growth.grow).code == "GROW653"
    growth.grow(verify=True)
    assert written(growth.to) == growth.expected()


def test_an_interrupted_growth_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = experts(tmp_path)
    told: list[Progress] = []

    def interrupt(progress: Progress) -> None:
        told.append(progress)
        if progress.done > progress.total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        growth.grow(listener=interrupt)
    assert growth.aside.is_dir()
    again: list[Progress] = []
    growth.grow(listener=again.append)
    assert written(growth.to) == growth.expected()
    assert again[0].done > told[-1].total / 2
    assert again[-1].done == again[-1].total == told[-1].total
    assert again[-1].left == 0
    assert len(told) + len(again) <= 2 + again[-1].total / 4096 * 1.5


def test_another_plan_replaces_what_a_stopped_growth_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = experts(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Copier, "copy", _raises(OSError(errno.EIO, "")))
        refused(growth.grow)
    (growth.aside / "folder").mkdir()
    (growth.aside / "folder" / "file").write_text("of the other")
    other = Growth(tmp_path, growth.tensors[:3], growth.sources, key="other")
    other.grow()
    assert written(other.to) == other.expected()
    assert sorted(files(other.to)) == ["config.json", "model.safetensors"]


def _swap_header(path: Path) -> None:
    status, whole = path.stat(), path.read_bytes()
    path.write_bytes(whole.replace(b"experts.000", b"experts.999"))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes, not"),
        (lambda path: os.utime(path, ns=(1, 1)), "was written to"),
        (lambda path: path.unlink(), "is gone"),
        (_swap_header, "another header"),
    ],
)
def test_a_source_that_changed_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], words: str
) -> None:
    growth = experts(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Copier, "copy", _raises(OSError(errno.EIO, "")))
        refused(growth.grow)
    change(Path(growth.sources[1].path))
    found = refused(growth.grow)
    assert found.code == "GROW654"
    assert words in found.message
    assert not growth.to.exists()


def test_a_source_written_to_while_it_is_read(tmp_path: Path) -> None:
    growth = experts(tmp_path)
    found = refused(lambda: growth.grow(listener=lambda _: os.utime(growth.sources[0].path, ns=(1, 1))))
    assert found.code == "GROW654"
    assert not growth.to.exists()


def test_a_source_cut_short_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = experts(tmp_path)
    real = Copier.copy

    def cut(*arguments: Any) -> None:
        os.truncate(growth.sources[0].path, 5000)
        real(*arguments)

    monkeypatch.setattr(Copier, "copy", cut)
    found = refused(growth.grow)
    assert (found.code, "shorter" in found.message) == ("GROW654", True)


def test_too_little_space_is_seen_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = experts(tmp_path)
    monkeypatch.setattr("growc.files.space.free_space", lambda _: 1000)
    monkeypatch.setattr("growc.files.staging.free_space", lambda _: 1000)
    assert refused(growth.grow).code == "GROW643"
    assert all(path.stat().st_blocks <= 8 for path in growth.aside.glob("*.safetensors"))
    monkeypatch.undo()
    growth.grow()


def test_shared_blocks_take_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = experts(tmp_path, size=8192)
    for name in ("space", "staging"):
        monkeypatch.setattr(f"growc.files.{name}.free_space", lambda _: 600_000)
    assert refused(growth.grow).code == "GROW643"
    monkeypatch.setattr("growc.files.space.clone", lambda *_: True)
    growth.grow()
    assert written(growth.to) == growth.expected()


def test_a_weight_file_that_went_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = experts(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Copier, "copy", _raises(OSError(errno.EIO, "")))
        refused(growth.grow)
    (growth.aside / "model-00001-of-00002.safetensors").unlink()
    assert refused(growth.grow).code == "GROW652"


def test_a_destination_that_comes_to_exist(tmp_path: Path) -> None:
    growth = experts(tmp_path)
    found = refused(lambda: growth.grow(listener=lambda _: growth.to.mkdir(exist_ok=True)))
    assert found.code == "GROW642"
    assert list(growth.to.iterdir()) == []
    growth.to.rmdir()
    growth.grow()


def test_two_processes_never_fill_one_folder(tmp_path: Path) -> None:
    growth = experts(tmp_path)
    with open_staging(growth.to, "key") as (aside, resumed):
        assert not resumed
        assert refused(growth.grow).code == "GROW642"
        growth.prepare(aside)
        finish(aside, growth.to)
    assert written(growth.to) == growth.expected()


def test_a_folder_without_a_plan_is_not_kept(tmp_path: Path) -> None:
    with open_staging(tmp_path / "grown", "key") as (aside, _):
        (aside / "half").write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_gone_on_with_by_its_key_or_by_none(tmp_path: Path) -> None:
    growth = experts(tmp_path)
    with open_staging(growth.to, "key") as (aside, _):
        growth.prepare(aside)
    with open_staging(growth.to) as (_, resumed):
        assert resumed
    with open_staging(growth.to, "key") as (_, resumed):
        assert resumed
    with open_staging(growth.to, "other") as (aside, resumed):
        assert not resumed
        assert list(aside.iterdir()) == []

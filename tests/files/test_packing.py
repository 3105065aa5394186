"""Packed and unpacked, every byte is as it was; what is not as it was packed is refused; nothing half-written stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from growc.diagnostics import Diagnostic, GrowcError
from growc.files.packing import pack as packing
from growc.files.packing import unpack as unpacking
from growc.files.packing.frames import Damaged, counts, expand, frame, head, squeeze, unframe
from growc.files.packing.pack import pack
from growc.files.packing.unpack import unpack
from tests.files.packings import Case, cases, contents, experts, write_weights

WIDTHS = st.sampled_from([1, 2, 4, 8])


def refused(call: Callable[[], object]) -> Diagnostic:
    with pytest.raises(GrowcError) as caught:
        call()
    return caught.value.diagnostics[0]


# -- every byte comes back -------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_packed_folder_gives_every_byte_back(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        case = data.draw(cases(Path(folder)))
        block = data.draw(st.sampled_from([64, 1 << 20]))
        for module in (packing, unpacking):
            patch.setattr(module, "BLOCK", block)
        before = contents(case.source)
        sizes = pack(case.source, case.packed, case.groups, workers=data.draw(st.sampled_from([1, 3])))
        held = contents(case.packed)
        assert sizes.whole == sum(map(len, before.values()))
        assert sizes.packed == sum(map(len, held.values()))
        assert not [name for name in held if name.endswith((".safetensors", ".bin", ".pt", ".index.json"))]
        assert unpack(case.packed, case.back, workers=data.draw(st.sampled_from([1, 3]))) == sizes.whole
        assert contents(case.back) == before == contents(case.source)
        assert contents(case.packed) == held


@given(st.binary(max_size=400), st.data(), WIDTHS)
def test_a_frame_gives_its_block_back(block: bytes, data: st.DataObject, width: int) -> None:
    length = len(block) // width * width
    block = block[:length]
    base = data.draw(st.one_of(st.just(block), st.just(bytes(length)), st.binary(min_size=length, max_size=length)))
    found = frame(base, block, width)
    told, planes = counts(found[: head(width)], length), found[head(width) :]
    assert len(planes) == sum(told) <= length
    assert unframe(base, told, planes) == block


def test_the_bytes_do_not_depend_on_the_threads(tmp_path: Path) -> None:
    case = experts(tmp_path, trained=0.1)
    pack(case.source, case.packed, case.groups, workers=1)
    pack(case.source, tmp_path / "again", case.groups, workers=3)
    assert contents(case.packed) == contents(tmp_path / "again")


def stored(folder: Path) -> dict[str, int]:
    """The bytes of every tensor in packed files, as the reference library reads them."""
    found: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors.packed")):
        with safe_open(path, framework="np") as file:
            found.update({name: file.get_slice(name).get_shape()[0] for name in file.keys()})  # noqa: SIM118
    return found


def test_fresh_copies_take_no_bytes_with_or_without_lineage(tmp_path: Path) -> None:
    case = experts(tmp_path)
    for groups in (case.groups, {}):
        to = tmp_path / f"packed{len(groups)}"
        pack(case.source, to, groups)
        found = [stored(to)[f"tensor.model.layers.0.mlp.experts.{slot}.up.weight"] for slot in range(6)]
        assert sorted(found) == [0, 0, 0, 2560, 2560, 2560]


def test_trained_copies_are_deltas_where_siblings_are_told(tmp_path: Path) -> None:
    case = experts(tmp_path, trained=0.02)
    for groups in (case.groups, {}):
        to = tmp_path / f"packed{len(groups)}"
        pack(case.source, to, groups)
        whole = [n for name, n in stored(to).items() if name.startswith("tensor.") and n == 2560]
        assert len(whole) == (3 if groups else 6)
        unpack(to, tmp_path / f"back{len(groups)}")
        assert contents(tmp_path / f"back{len(groups)}") == contents(case.source)


def test_a_delta_that_does_not_pay_is_no_delta(tmp_path: Path) -> None:
    """Experts that were told to be siblings and are not."""
    case = experts(tmp_path, sizes=(1, 1, 1))
    pack(case.source, case.packed, {0: (3,)})
    assert [n for name, n in stored(case.packed).items() if name.startswith("tensor.")] == [2560] * 3
    unpack(case.packed, case.back)
    assert contents(case.back) == contents(case.source)


def test_equal_digests_are_not_taken_for_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """xxh3 is no cryptographic digest: weights can be made that have the same."""
    case = experts(tmp_path, trained=0.1)
    real = packing.bases
    monkeypatch.setattr(packing, "bases", lambda t, d, g: real(t, [b"the same" for _ in d], g))
    pack(case.source, case.packed, {})
    unpack(case.packed, case.back)
    assert contents(case.back) == contents(case.source)


def test_links_are_followed_as_a_cache_of_the_hub_has_them(tmp_path: Path) -> None:
    case = experts(tmp_path)
    before = contents(case.source)
    (tmp_path / "blobs").mkdir()
    for number, path in enumerate(sorted(case.source.iterdir())):
        path.rename(tmp_path / "blobs" / str(number))
        path.symlink_to(f"../blobs/{number}")
    pack(case.source, case.packed, case.groups)
    unpack(case.packed, case.back)
    assert contents(case.back) == before
    assert not any(path.is_symlink() for path in case.back.iterdir())


def test_what_the_index_does_not_name_is_left_out(tmp_path: Path) -> None:
    case = experts(tmp_path)
    pack(case.source, case.packed, {})
    (case.packed / ".gitattributes").write_text("*.packed filter=lfs")
    unpack(case.packed, case.back)
    assert contents(case.back) == contents(case.source)


# -- what is refused -------------------------------------------------------------------------------------------


def test_what_exists_is_never_written_over(tmp_path: Path) -> None:
    case = experts(tmp_path)
    pack(case.source, case.packed, {})
    for call in (lambda: pack(case.source, case.packed, {}), lambda: unpack(case.packed, case.source)):
        before = contents(tmp_path)
        assert refused(call).code == "GROW642"
        assert contents(tmp_path) == before
    assert refused(lambda: pack(case.source, case.source / "inside", {})).code == "GROW642"


def test_packed_twice_and_unpacked_twice(tmp_path: Path) -> None:
    case = experts(tmp_path)
    assert refused(lambda: unpack(case.source, case.back)).code == "GROW671"
    pack(case.source, case.packed, {})
    assert refused(lambda: pack(case.packed, case.back, {})).code == "GROW671"
    assert not case.back.exists()


def test_what_is_no_folder_and_where_none_can_be(tmp_path: Path) -> None:
    case = experts(tmp_path)
    (tmp_path / "file").write_text("")
    for path, fault in ((tmp_path / "nowhere", "does not exist"), (tmp_path / "file", "is not a folder")):
        assert fault in refused(partial(pack, path, case.packed, {})).message
        assert fault in refused(partial(unpack, path, case.back)).message
    assert refused(lambda: pack(case.source, tmp_path / "file" / "packed", {})).code == "GROW642"


def test_a_source_with_a_pipe_or_a_name_that_is_no_text(tmp_path: Path) -> None:
    case = experts(tmp_path)
    os.mkfifo(case.source / "pipe")
    assert refused(lambda: pack(case.source, case.packed, {})).code == "GROW660"
    (case.source / "pipe").unlink()
    (Path(os.fsdecode(os.fsencode(case.source) + b"/\xff"))).write_text("")
    assert refused(lambda: pack(case.source, case.packed, {})).code == "GROW660"
    assert not case.packed.exists()


def test_a_damaged_source(tmp_path: Path) -> None:
    case = experts(tmp_path)
    path = case.source / "model-00001-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert refused(lambda: pack(case.source, case.packed, {})).code == "GROW208"


def test_a_source_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = experts(tmp_path)
    path, real = case.source / "model-00002-of-00003.safetensors", packing.pack_beside

    def changes(*arguments: Any) -> Any:
        os.utime(path, ns=(0, 0))
        return real(*arguments)

    monkeypatch.setattr(packing, "pack_beside", changes)
    found = refused(lambda: pack(case.source, case.packed, {}))
    assert (found.code, "was written to" in found.message) == ("GROW646", True)
    monkeypatch.undo()

    def shortens(*arguments: Any) -> Any:
        os.truncate(path, path.stat().st_size - 100)
        return [None] * 6

    monkeypatch.setattr(packing, "bases", shortens)
    assert refused(lambda: pack(case.source, case.packed, {})).code == "GROW646"
    assert not list(tmp_path.glob("packed*"))


def test_a_source_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = experts(tmp_path)

    def fails(*_: object) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(packing, "tensor_digests", fails)
    assert refused(lambda: pack(case.source, case.packed, {})).code == "GROW646"
    assert not list(tmp_path.glob("packed*"))


@pytest.mark.parametrize("module", [packing, unpacking])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    case = experts(tmp_path)
    if module is unpacking:
        pack(case.source, case.packed, {})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write", full)
    to = tmp_path / "to"
    call = (lambda: pack(case.source, to, {})) if module is packing else (lambda: unpack(case.packed, to))
    found = refused(call)
    assert (found.code, "No space left" in found.message) == ("GROW644", True)
    assert not list(tmp_path.glob("to*"))


def test_a_checkpoint_that_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    """Zeros take next to nothing packed: what they unpack to is compared with the disk before it is written."""
    case = Case(tmp_path, {})
    case.source.mkdir()
    write_weights(case.source / "model.safetensors", {"a": ("U8", (100,), bytes(100))})
    pack(case.source, case.packed, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("growc.files.staging.free_space", lambda _: 50)
        assert refused(lambda: unpack(case.packed, case.back)).code == "GROW643"
    assert not list(tmp_path.glob("back*"))


def test_a_name_that_comes_to_exist_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = experts(tmp_path)
    pack(case.source, case.packed, {})
    real = unpacking.unpack_beside

    def made(*arguments: Any) -> None:
        case.back.mkdir(exist_ok=True)
        real(*arguments)

    monkeypatch.setattr(unpacking, "unpack_beside", made)
    assert refused(lambda: unpack(case.packed, case.back)).code == "GROW642"
    real_pack = packing.write_pack

    def made_too(*arguments: Any) -> None:
        (tmp_path / "again").mkdir()
        real_pack(*arguments)

    monkeypatch.setattr(packing, "write_pack", made_too)
    assert refused(lambda: pack(case.source, tmp_path / "again", {})).code == "GROW642"
    assert not list(tmp_path.glob("*.partial"))


def test_squeezed_bytes_that_are_forged() -> None:
    bomb = squeeze(bytes(1 << 24))
    assert len(bomb) < 1 << 17
    for found in (bomb, squeeze(bytes(999)), squeeze(bytes(1000))[:-1], squeeze(bytes(1000)) + b"x", b"\xff" * 9, b""):
        with pytest.raises(Damaged):
            expand(found, 1000)


# -- killed ----------------------------------------------------------------------------------------------------

SLOWLY = """
import sys, time
from pathlib import Path
from growc.files.packing import pack, unpack

def slowly(real):
    def call(*arguments):
        time.sleep(0.03)
        return real(*arguments)
    return call

pack._Packing._store = slowly(pack._Packing._store)
pack.commit = slowly(pack.commit)
unpack._Unpacking._write = slowly(unpack._Unpacking._write)
what, folder, to = sys.argv[1:]
print("begins", flush=True)
pack.pack(Path(folder), Path(to), {}) if what == "pack" else unpack.unpack(Path(folder), Path(to))
"""


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("what", ["pack", "unpack"])
def test_a_kill_leaves_nothing_under_the_final_name(tmp_path: Path, what: str) -> None:
    case = experts(tmp_path, trained=0.1)
    pack(case.source, case.packed, {})
    folder, whole = (case.source, case.packed) if what == "pack" else (case.packed, case.source)
    to, killed = tmp_path / "to", 0
    for number in range(8):
        with subprocess.Popen([sys.executable, "-c", SLOWLY, what, folder, to], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(number * 0.03)
            child.kill()
        if to.exists():
            break
        killed += child.returncode == -9
    assert killed > 1
    if not to.exists():
        assert (tmp_path / "to.partial").is_dir()
        _ = pack(folder, to, {}) if what == "pack" else unpack(folder, to)
    assert contents(to) == contents(whole)
    assert not (tmp_path / "to.partial").exists()

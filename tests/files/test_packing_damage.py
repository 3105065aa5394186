"""Packed folders that were damaged, cut short or forged: refused by name, or whole all the same, and never wrong."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growc.diagnostics import GrowcError
from growc.files.folder import PACKED, read_folder
from growc.files.lines import write_lines
from growc.files.packing.frames import squeeze
from growc.files.packing.pack import pack
from growc.files.packing.unpack import unpack
from tests.files.packings import Case, contents, experts
from tests.files.test_packing import refused

FIRST = "model-00001-of-00003.safetensors.packed"

REFUSED = ("GROW208", "GROW643", "GROW644", "GROW671", "GROW672")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Experts 0 and 3 lie in the first file, then 1 and 4, 2 and 5; 1 and 2 are like 0, and 5 is like 4."""
    case = experts(tmp_path, trained=0.02)
    pack(case.source, case.packed, case.groups)
    return case


def check_refused(case: Case, *words: str) -> None:
    found = refused(lambda: unpack(case.packed, case.back))
    assert found.code == "GROW672", found
    for word in words:
        assert word in found.message
    assert not list(case.root.glob("back*"))


def lines(case: Case) -> list[Any]:
    return [json.loads(line) for line in (case.packed / PACKED).read_text().splitlines()][:-1]


Change = Callable[[list[Any]], object]


def of_head(key: str, change: Callable[[Any], object]) -> Change:
    return lambda values: change(values[0][key])


def of_tensor(number: int, field: int, value: Any) -> Change:
    return lambda values: values[number + 1].__setitem__(field, value)


FORGED: dict[str, tuple[Change, str]] = {
    "another version": (lambda v: v[0].__setitem__("packed", 2), "another version"),
    "no head": (lambda v: v[0].clear(), "is damaged"),
    "nothing": (lambda v: v.clear(), "another version"),
    "a file less": (of_head("files", lambda f: f.pop()), "more tensors"),
    "a file twice": (of_head("files", lambda f: f.__setitem__(1, [*f[0][:4], f[1][4]])), "twice"),
    "a file that leaves the folder": (of_head("files", lambda f: f[0].__setitem__(0, "../x.safetensors")), "named"),
    "a file in a folder": (of_head("files", lambda f: f[0].__setitem__(0, "a/x.safetensors")), "named"),
    "a file of another kind": (of_head("files", lambda f: f[0].__setitem__(0, "x.bin")), "named"),
    "a header of a terabyte": (of_head("files", lambda f: f[0].__setitem__(1, 10**12)), "a header of"),
    "a header that grew": (of_head("files", lambda f: f[0].__setitem__(3, f[0][1] + 1)), "a header of"),
    "a header that is less": (of_head("files", lambda f: f[0].__setitem__(3, f[0][3] - 1)), "does not hold"),
    "a header of other bytes": (of_head("files", lambda f: f[0].__setitem__(2, "00" * 32)), "another header"),
    "a header that is longer": (of_head("files", lambda f: f[0].__setitem__(1, f[0][1] + 1)), "cannot be unpacked"),
    "a tensor less": (of_head("files", lambda f: f[2].__setitem__(4, 1)), "more tensors"),
    "a tensor more": (of_head("files", lambda f: f[2].__setitem__(4, 3)), "fewer tensors"),
    "half a tensor": (of_head("files", lambda f: f[2].__setitem__(4, 1.5)), "is damaged"),
    "a side file that leaves the folder": (of_head("beside", lambda f: f[0].__setitem__(0, "../../x")), "named"),
    "a side file at the root": (of_head("beside", lambda f: f[0].__setitem__(0, "/tmp/x")), "named"),
    "a side file without a name": (of_head("beside", lambda f: f[0].__setitem__(0, "")), "named"),
    "a side file that is the folder": (of_head("beside", lambda f: f[0].__setitem__(0, ".")), "named"),
    "a side file that is not there": (of_head("beside", lambda f: f.append(["x", 1, "00" * 16])), "is missing"),
    "a side file of another size": (of_head("beside", lambda f: f[0].__setitem__(1, 7)), "not the file"),
    "a side file of other bytes": (of_head("beside", lambda f: f[0].__setitem__(2, "00" * 16)), "not the file"),
    "a side file in the place of weights": (
        of_head("beside", lambda f: f[0].__setitem__(0, FIRST.removesuffix(".packed"))), "twice"
    ),
    "another name": (of_tensor(0, 0, "x"), "does not hold"),
    "one name twice": (of_tensor(1, 0, "model.layers.0.mlp.experts.0.up.weight"), "fewer tensors"),
    "a number for a name": (of_tensor(0, 0, 7), "is damaged"),
    "an unknown dtype": (of_tensor(0, 1, "F7"), "is damaged"),
    "another dtype": (of_tensor(0, 1, "F16"), "another header"),
    "half a byte": (lambda v: v[1].__setitem__(slice(1, 3), ["F4", [3]]), "whole bytes"),
    "a shape without end": (of_tensor(0, 2, [1] * 65), "no file has"),
    "a huge shape": (of_tensor(0, 2, [2**62, 2**62, 2**62]), "bytes in"),
    "a shape below zero": (of_tensor(0, 2, [-1]), "is damaged"),
    "another shape": (of_tensor(0, 2, [32, 40]), "another header"),
    "another digest": (of_tensor(0, 3, "00" * 16), "not what was packed"),
    "half a digest": (of_tensor(0, 3, "00"), "a digest"),
    "no pieces": (of_tensor(0, 4, []), "whole bytes"),
    "pieces that are not even": (of_tensor(0, 4, [[2560, None]] * 3), "pieces"),
    "a base of itself": (of_tensor(0, 4, [[0, 0]]), "against 0"),
    "a base that comes later": (of_tensor(0, 4, [[0, 3]]), "against 3"),
    "a base that is not there": (of_tensor(2, 4, [[0, 99]]), "against 99"),
    "a base below zero": (of_tensor(2, 4, [[0, -1]]), "-1 for a size"),
    "a piece that grew": (of_tensor(0, 4, [[2561, None]]), "in 2561"),
    "a piece that is equal to another": (of_tensor(2, 4, [[0, 0]]), "does not hold"),
    "a piece of the wrong base": (lambda v: v[3][4][0].__setitem__(1, 1), "not what was packed"),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_an_index_that_was_forged(case: Case, what: str) -> None:
    """With a last line that fits: whoever forges the index can write that too."""
    change, word = FORGED[what]
    values = lines(case)
    change(values)
    write_lines(case.packed / PACKED, values)
    check_refused(case, word)
    assert not (case.root / "x").exists()


def test_an_index_that_was_altered_or_cut_short(case: Case) -> None:
    path = case.packed / PACKED
    text = path.read_bytes()
    for spoiled in (text[:-1], text[: len(text) // 2], b"", b"{", text + b"\n", text.replace(b'"BF16"', b'"F16"', 1)):
        path.write_bytes(spoiled)
        check_refused(case, PACKED)


def test_a_key_twice_in_the_index(case: Case) -> None:
    path = case.packed / PACKED
    path.write_bytes(path.read_bytes().replace(b'{"packed":1', b'{"packed":2,"packed":1', 1))
    check_refused(case, "given twice")


@pytest.mark.parametrize("name", [FIRST, "config.json", "model.safetensors.index.json.packed"])
def test_a_file_that_is_missing(case: Case, name: str) -> None:
    (case.packed / name).unlink()
    check_refused(case, name, "is missing")


def test_a_side_file_that_was_altered(case: Case) -> None:
    (case.packed / "config.json").write_text("[]")
    check_refused(case, "config.json is not the file that was packed")


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_packed_file_that_is_cut_short(case: Case, kept: int) -> None:
    path = case.packed / FIRST
    path.write_bytes(path.read_bytes()[:kept])
    assert refused(lambda: unpack(case.packed, case.back)).code == "GROW208"
    assert not list(case.root.glob("back*"))


def spoil_delta(case: Case, change: Callable[[bytearray], object]) -> None:
    """Change the delta of expert 2 (in the third file) within its bytes."""
    (name,) = (n for n, *_ in (v for v in lines(case)[1:] if v[4][0][1] is not None) if ".2." in n)
    path = case.packed / "model-00003-of-00003.safetensors.packed"
    whole = bytearray(path.read_bytes())
    size = int.from_bytes(whole[:8], "little")
    start, end = json.loads(whole[8 : 8 + size])[f"tensor.{name}"]["data_offsets"]
    delta = whole[8 + size + start : 8 + size + end]
    change(delta)
    whole[8 + size + start : 8 + size + end] = delta
    assert len(delta) == end - start
    path.write_bytes(whole)


def test_a_delta_that_inflates_to_more_than_it_may(case: Case) -> None:
    bomb = squeeze(bytes(1 << 15))

    def forge(delta: bytearray) -> None:
        assert 8 + len(bomb) < len(delta)
        delta[: 8 + len(bomb)] = len(bomb).to_bytes(4, "little") + bytes(4) + bomb

    spoil_delta(case, forge)
    check_refused(case, "not 1280 deflated")


@pytest.mark.parametrize("count", [0, 1, 1281, 2**32 - 1])
def test_a_delta_whose_planes_are_not_as_long_as_they_say(case: Case, count: int) -> None:
    spoil_delta(case, lambda delta: delta.__setitem__(slice(4), count.to_bytes(4, "little")))
    check_refused(case, "a delta that cannot be unpacked")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_flipped_bit_gives_wrong_weights(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        case = experts(Path(folder), trained=0.02, rows=8)
        pack(case.source, case.packed, case.groups)
        path = data.draw(st.sampled_from(sorted(case.packed.iterdir())))
        whole = bytearray(path.read_bytes())
        where = data.draw(st.integers(0, 8 * len(whole) - 1))
        whole[where // 8] ^= 1 << where % 8
        path.write_bytes(whole)
        codes: set[str] = set()
        try:
            unpack(case.packed, case.back)
        except GrowcError as error:
            codes = {found.code for found in error.diagnostics}
        assert codes <= {*REFUSED}
        assert codes or contents(case.back) == contents(case.source)
        assert not codes or not list(case.root.glob("back*"))


def test_no_other_command_takes_a_packed_folder(case: Case) -> None:
    found = refused(lambda: read_folder(case.packed))
    assert (found.code, "growc unpack" in found.help) == ("GROW209", True)

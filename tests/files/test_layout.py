"""Layouts: every tensor once, aligned, in few ranges that lie as they did in the source."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from growc.files.headers import BITS, read_header
from growc.files.layout import lay_out
from growc.files.order import CONGRUENCE
from growc.files.plan import Copied, Made, PlannedTensor, Zeros
from growc.files.ranges import Range, chunks, ranges
from tests.files.growths import growths


@settings(max_examples=40)
@given(st.data())
def test_every_header_reads_back_as_planned(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        growth = data.draw(growths(Path(folder)))
        outputs = growth.outputs()
        assert sorted(t.name for o in outputs for t in o.tensors) == sorted(t.name for t in growth.tensors)
        for output in outputs:
            path = Path(folder) / output.name
            head = output.head()
            assert len(head) == output.data and output.data % 8 == 0
            path.write_bytes(head + bytes(output.size - output.data))
            header = read_header(path)
            assert header.metadata == {"format": "pt"}
            assert {(start, t.name, t.dtype, t.shape, start + t.nbytes) for start, t in output.places()} == {
                (e.start, e.name, e.dtype, e.shape, e.end) for e in header.tensors.values()
            }
            with safe_open(path, framework="np") as opened:
                assert sorted(opened.keys()) == sorted(t.name for t in output.tensors)
            assert len(output.tensors) <= 1 or output.size - output.data <= growth.limit


def lay(*sizes: tuple[str, int, int]) -> tuple[list[PlannedTensor], int]:
    """Tensors of a name, a size in bytes and a number of uses, one after the other in one source file."""
    found: list[PlannedTensor] = []
    at = 4096
    for name, size, uses in sizes:
        found += [PlannedTensor(f"{name}.{use}", "U8", (size,), (Copied(0, at, size),)) for use in range(uses)]
        at += size
    return found, at - 4096


def congruent(tensors: list[PlannedTensor]) -> tuple[int, int, int]:
    """How many ranges make the file; bytes of those that lie as in the source modulo 64 KiB; bytes of all."""
    (output,) = lay_out(tensors, 10**15)
    held = list(ranges(0, output))
    return len(held), sum(r.length for r in held if (r.to - r.start) % CONGRUENCE == 0), sum(r.length for r in held)


def test_doubled_experts_are_a_few_ranges_and_lie_as_in_the_source() -> None:
    """Experts whose sizes are multiples of 4 KiB, of 64 KiB together; small odd tensors between the layers."""
    layer = [("norm", 256, 1), *[(f"expert{n:03}", 50 * 4096, 2) for n in range(32)], ("attention", 1 << 20, 1)]
    tensors, total_size = lay(*[(f"{n}.{name}", size, uses) for n in range(4) for name, size, uses in layer])
    count, alike, total = congruent(tensors)
    assert count == 4 + 1
    assert alike == total == total_size + 4 * 32 * 50 * 4096


def test_doubled_layers_lie_as_in_the_source_but_for_their_small_tensors() -> None:
    layer = [("norm", 256, 2), *[(f"expert{n:03}", 10 << 16, 2) for n in range(8)], ("bias", 512, 2), ("q", 1 << 20, 2)]
    tensors, _ = lay(*[(f"{n}.{name}", size, uses) for n in range(4) for name, size, uses in layer])
    count, alike, total = congruent(tensors)
    assert count < 8 * 4
    assert total - alike == 4 * (256 + 512)


def test_experts_of_an_odd_size_are_still_few_ranges() -> None:
    layer = [("norm", 256, 1), *[(f"expert{n:03}", 70_001, 3) for n in range(8)]]
    tensors, _ = lay(*[(f"{n}.{name}", size, uses) for n in range(4) for name, size, uses in layer])
    count, alike, total = congruent(tensors)
    assert count == 1 + 2 * 4
    assert alike >= total / 3


def test_a_tensor_that_changes_by_an_odd_length_waits_for_the_end() -> None:
    tensors, size = lay(("first", 1 << 20, 1), ("changed", 1 << 17, 1), ("rest", 1 << 20, 1))
    changed = PlannedTensor("changed.0", "U8", ((1 << 17) + 2,), (*tensors[1].parts, Zeros(2)))
    count, alike, total = congruent([tensors[0], changed, tensors[2]])
    assert (count, alike, total) == (3, size, size)
    wider = PlannedTensor("changed.0", "U8", (2 << 17,), tensors[1].parts * 2)
    assert congruent([tensors[0], wider, tensors[2]]) == (2, size + (1 << 17), size + (1 << 17))


def test_wider_dtypes_come_first_so_that_every_tensor_is_aligned() -> None:
    odd = [
        PlannedTensor("bytes", "U8", (3,), (Copied(0, 16, 3),)),
        PlannedTensor("half", "BF16", (1,), (Copied(0, 19, 2),)),
        PlannedTensor("single", "F32", (1,), (Zeros(4),)),
        PlannedTensor("made", "F64", (1,), (Made(8),)),
    ]
    (output,) = lay_out(odd, 10**9)
    assert [tensor.name for tensor in output.tensors] == ["made", "single", "half", "bytes"]
    assert all(start % (BITS[tensor.dtype] // 8) == 0 for start, tensor in output.places())


def test_an_output_follows_each_source_and_is_split_at_the_limit() -> None:
    tensors = [PlannedTensor(f"{f}.{i}", "U8", (10,), (Copied(f, 10 * i + 8, 10),)) for f in (1, 0) for i in range(3)]
    tensors.append(PlannedTensor("zero", "U8", (10,), (Zeros(10),)))
    first, second, third, fourth = lay_out([*tensors, PlannedTensor("made", "U8", (1,), (Made(1),))], 30, {"made": 0})
    assert [t.name for t in first.tensors] == ["0.0", "0.1", "0.2"]
    assert [t.name for t in second.tensors] == ["made"]
    assert [t.name for t in third.tensors] == ["1.0", "1.1", "1.2"]
    assert [t.name for t in fourth.tensors] == ["zero"]
    assert fourth.name == "model-00004-of-00004.safetensors"
    assert [output.name for output in lay_out(tensors[:3], 30)] == ["model.safetensors"]
    assert [output.tensors for output in lay_out([], 30)] == [()]


def test_a_tensor_larger_than_the_limit_has_a_file_of_its_own() -> None:
    tensors = [PlannedTensor(str(i), "U8", (n,), (Copied(0, 100 * i, n),)) for i, n in enumerate((5, 50, 5))]
    assert [[t.name for t in output.tensors] for output in lay_out(tensors, 20)] == [["0"], ["1"], ["2"]]


@given(st.integers(0, 300), st.integers(1, 1000), st.sampled_from([8, 64]))
def test_chunks_make_up_their_range_and_are_cut_where_the_source_is_aligned(start: int, length: int, size: int) -> None:
    cut = list(chunks(Range(0, start, 0, start + 7, length), size))
    assert sum(chunk.length for chunk in cut) == length
    assert cut[0].start == start
    for one, other in pairwise(cut):
        assert (one.start + one.length, one.to + one.length) == (other.start, other.to)
        assert other.start % size == 0


@settings(max_examples=40)
@given(st.data())
def test_ranges_are_all_that_is_copied(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        growth = data.draw(growths(Path(folder)))
        for number, output in enumerate(growth.outputs()):
            whole: dict[int, tuple[int, int]] = {}
            for r in ranges(number, output):
                assert r.output == number and r.length
                whole |= {r.to + i: (r.source, r.start + i) for i in range(r.length)}
            for at, tensor in output.places():
                for part in tensor.parts:
                    for i in range(part.length):
                        assert whole.get(at + i) == ((part.file, part.start + i) if isinstance(part, Copied) else None)
                    at += part.length

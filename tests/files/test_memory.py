"""Memory of the process that moves: some 64 MiB and a KiB for each tensor, whatever the number of bytes."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from pathlib import Path

import pytest

from growc.files.layout import lay_out
from growc.files.plan import Copied, Plan, PlannedTensor, Source
from growc.files.planfile import write_plan
from growc.files.staging import open_staging
from tests.files.growths import as_source

FINISH = """
import sys
from pathlib import Path
from growc.files.move import finish
from growc.files.staging import open_staging

with open_staging(Path(sys.argv[1])) as (aside, resumed):
    assert resumed
    finish(aside, Path(sys.argv[1]), workers=4, verify=sys.argv[2] == "verify")
heavy = {"torch", "transformers", "numpy", "pydantic", "yaml", "click", "logging", "asyncio"} & sys.modules.keys()
assert not heavy, heavy
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


PACK = """
import sys
from pathlib import Path
from growc.files.packing.pack import pack
from growc.files.packing.unpack import unpack

source, packed, back = map(Path, sys.argv[1:])
pack(source, packed, {0: (2,) * 4}, workers=4)
unpack(packed, back, workers=4)
heavy = {"torch", "transformers", "numpy", "pydantic", "yaml", "click", "logging", "asyncio"} & sys.modules.keys()
assert not heavy, heavy
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peak(to: Path, *, verify: bool) -> int:
    """Bytes of memory that a process takes at most to finish what is prepared for `to`."""
    command = [sys.executable, "-c", FINISH, str(to), "verify" if verify else "no"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


def sparse(path: Path, tensors: int, length: int, name: str = "layers.{}.w") -> Source:
    """A source of U8 tensors that are holes, but for a few bytes in each hundredth."""
    fields = {
        name.format(n): {"dtype": "U8", "shape": [length], "data_offsets": [n * length, (n + 1) * length]}
        for n in range(tensors)
    }
    header = json.dumps(fields).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for number in range(0, tensors, 100):
            file.seek(8 + len(header) + number * length)
            file.write(b"some bytes")
        file.truncate(8 + len(header) + tensors * length)
    return as_source(path)


def prepare(root: Path, files: int, tensors: int, length: int) -> Path:
    """Everything twice, in as many files as the source has."""
    sources = tuple(sparse(root / f"model-{n}.safetensors", tensors, length) for n in range(files))
    planned: list[PlannedTensor] = []
    for file, source in enumerate(sources):
        start = source.size - tensors * length
        for number in range(tensors):
            part = (Copied(file, start + number * length, length),)
            planned += [PlannedTensor(f"{file}.{number}.{copy}", "U8", (length,), part) for copy in range(2)]
    with open_staging(root / "grown", "key") as (aside, _):
        write_plan(aside, Plan("key", 1, sources, lay_out(planned, 10**15)))
    return root / "grown"


@pytest.mark.process
@pytest.mark.slow
def test_a_terabyte_takes_no_more_memory_than_a_gigabyte(tmp_path: Path) -> None:
    found: list[int] = []
    for name, length in (("gigabyte", 10**9 // 4000), ("terabyte", 10**12 // 4000)):
        (tmp_path / name).mkdir()
        to = prepare(tmp_path / name, 4, 1000, length)
        found.append(peak(to, verify=False))
        assert sum(path.stat().st_size for path in to.iterdir()) > 2 * 4000 * length
    assert found[1] < 64 * 2**20 + 8000 * 1024
    assert found[1] < found[0] + 8 * 2**20


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("verify", [False, True])
def test_memory_grows_by_less_than_a_kibibyte_for_each_tensor(tmp_path: Path, verify: bool) -> None:
    to = prepare(tmp_path, 4, 10_000, 64)
    assert peak(to, verify=verify) < 64 * 2**20 + 80_000 * 1024


@pytest.mark.process
@pytest.mark.slow
def test_packing_takes_no_more_memory_for_larger_tensors(tmp_path: Path) -> None:
    """Eight experts, copies in pairs that differ here and there, in a file of holes, so that it takes no disk."""
    found: list[int] = []
    for length in (1 << 20, 64 << 20):
        root = tmp_path / str(length)
        root.mkdir()
        (root / "source").mkdir()
        path = root / "source" / "model.safetensors"
        sparse(path, 8, length, "layers.0.experts.{}.w")
        with path.open("r+b") as file:
            for position in range(length, 8 * length, length // 3):
                file.seek(position)
                file.write(b"here and there")
        command = [sys.executable, "-c", PACK, *(str(root / name) for name in ("source", "packed", "back"))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(int(done.stdout) * 1024)
        assert filecmp.cmp(path, root / "back/model.safetensors", shallow=False)
        assert (root / "packed/model.safetensors.packed").stat().st_size < 5 * length
    assert found[1] < 100 * 2**20
    assert found[1] < found[0] + 16 * 2**20


@pytest.mark.process
def test_a_small_growth_takes_little_memory(tmp_path: Path) -> None:
    assert peak(prepare(tmp_path, 1, 10, 10**6), verify=True) < 40 * 2**20

"""Data larger than memory: what is read and written passes by in small pieces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MEGABYTES = 200

_PREPARE = """
import resource, sys
from pathlib import Path
from tests.data.specs import prepared, section

base, kind = Path(sys.argv[1]), sys.argv[2]
prepared(base, section({"kind": "text", "path": "small.txt"}), cache="warm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
train = {"kind": kind, "path": "large"} | ({"dtype": "uint16"} if kind == "tokens" else {})
corpus = prepared(base, section(train, parts={"one": 0.5, "two": 0.5}))
for step in range(20):
    corpus.part("one").batch(0, step, 8, 256)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("text", b"some text of which there is far more than one would like to hold\n"),
        ("text", b"no line ever ends "),
        ("jsonl", b'{"text": "' + b"a document on its line " * 100 + b'"}\n'),
        ("tokens", bytes([7, 0])),
    ],
)
def test_peak_memory_does_not_grow_with_the_data(tmp_path: Path, kind: str, line: bytes) -> None:
    (tmp_path / "small.txt").write_bytes(b"some text\n" * 1000)
    with (tmp_path / "large").open("wb") as file:
        block = line * (1 + (1 << 20) // len(line))
        for _ in range(MEGABYTES):
            file.write(block)
    grown = subprocess.run(
        [sys.executable, "-c", _PREPARE, str(tmp_path), kind],
        check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2],
    ).stdout  # fmt: skip
    (tmp_path / "large").unlink()
    assert int(grown) < 100 * 1024, "kibibytes above what a small text takes"

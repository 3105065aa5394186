"""The readers that need no torch, given changed files: a diagnostic, or what an independent reader finds too."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import safetensors
import xxhash

from growc.files.folder import INDEX, read_folder
from growc.files.headers import read_header
from growc.files.manifest import MANIFEST
from growc.files.move import finish
from growc.files.planfile import PLAN, read_plan, write_plan
from growc.files.verify import verify
from tests.files.growths import experts, write_source
from tests.fuzz.change import bytes_changed, value_changed, written
from tests.fuzz.outcome import Wrong, answer

RowSlice = dict[str, tuple[str, tuple[int, ...], bytes]]


@cache
def _good() -> Path:
    """A folder with a source of two files, an interrupted growth of it and a finished one with its manifest."""
    root = Path(_kept().name)
    growth = experts(root, size=64, count=3)
    growth.grow(verify=True)
    growth.aside.mkdir()
    growth.prepare(growth.aside)
    located = {name: path.name for path in (root / "source").iterdir() for name in read_header(path).tensors}
    (root / "source" / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": located}))
    return root


@cache
def _kept() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="growc-fuzz-")


def header_changed(whole: bytes, rng: Random) -> bytes:
    """A weight file with another header, or cut or lengthened."""
    length = int.from_bytes(whole[:8], "little")
    header, data = whole[8 : 8 + length], whole[8 + length :]
    kind = rng.random()
    if kind < 0.6:
        header = text_changed(header, rng)
    elif kind < 0.85:
        header = bytes_changed(header, rng)
    elif kind < 0.95:
        return bytes_changed(whole[: 8 + length], rng) + data
    else:
        return whole[: rng.randint(0, len(whole))] if rng.random() < 0.5 else whole + bytes(rng.randint(1, 9))
    length = len(header) if rng.random() < 0.95 else rng.choice((0, length, len(header) + 1, 2**63, 2**64 - 1))
    return length.to_bytes(8, "little") + header + data


def text_changed(text: bytes, rng: Random) -> bytes:
    """A JSON file, changed as a value or as bytes."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # another change was first
        return bytes_changed(text, rng)
    return written(value_changed(value, rng), rng) if rng.random() < 0.75 else bytes_changed(text, rng)


def _by_the_library(whole: bytes) -> RowSlice:
    try:
        found: Any = safetensors.deserialize(whole)
    except (safetensors.SafetensorError, UnicodeError) as error:
        raise Wrong(f"the safetensors library refuses what growc takes: {error}") from error
    return {name: (field["dtype"], tuple(field["shape"]), bytes(field["data"])) for name, field in found}


def _by_growc(path: Path, whole: bytes) -> RowSlice:
    entries = read_header(path).tensors.values()
    return {entry.name: (entry.dtype, entry.shape, whole[entry.start : entry.end]) for entry in entries}


def header(folder: Path, rng: Random) -> str:
    """One weight file: refused, or read as the safetensors library reads it."""
    dtypes = {"F32": 4, "BF16": 2, "I64": 8, "U8": 1, "F8_E4M3": 1}
    path = folder / "model.safetensors"
    tensors: dict[str, tuple[str, list[int], bytes]] = {}
    for number in range(rng.randint(1, 4)):
        dtype, shape = rng.choice([*dtypes]), [rng.randint(0, 3) for _ in range(rng.randint(0, 3))]
        size = dtypes[dtype]
        for axis in shape:
            size *= axis
        tensors[f"model.layers.{number}.weight"] = dtype, shape, rng.randbytes(size)
    write_source(path, tensors)
    whole = header_changed(path.read_bytes(), rng)
    path.write_bytes(whole)
    if code := answer(lambda: read_folder(folder)):
        return code
    if _by_growc(path, whole) != _by_the_library(whole):
        raise Wrong("the safetensors library reads other tensors")
    return "as the library"


def index(folder: Path, rng: Random) -> str:
    """Two weight files and an index: refused, or every tensor is where it is said to be, and no other."""
    shutil.copytree(_good() / "source", folder, dirs_exist_ok=True)
    path = folder / INDEX
    if rng.random() < 0.8:
        path.write_bytes(text_changed(path.read_bytes(), rng))
    else:
        shard = rng.choice(sorted(folder.glob("*.safetensors")))
        shard.write_bytes(header_changed(shard.read_bytes(), rng))
    if code := answer(lambda: read_folder(folder)):
        return code
    files = read_folder(folder)
    held = {name: file for file in files.headers for name in _by_the_library((folder / file).read_bytes())}
    if held != dict(files.location) or held != json.loads(path.read_bytes())["weight_map"]:
        raise Wrong("a tensor is not where it is said to be")
    return "as the library"


def plan(folder: Path, rng: Random) -> str:
    """A plan: refused unless it proves itself; one that was forged can be carried out, or is refused then."""
    aside = folder / "grown.partial"
    shutil.copytree(_good() / "grown.partial", aside)
    path = aside / PLAN
    before, whole = read_plan(aside), path.read_bytes()
    forged = rng.random() < 0.7
    if forged:
        lines = whole.splitlines()[:-1]
        at = rng.randrange(len(lines))
        lines[at] = json.dumps(value_changed(json.loads(lines[at]), rng)).encode()
        text = b"".join(line + b"\n" for line in lines)
        last = {"lines": len(lines), "xxh3_128": xxhash.xxh3_128_hexdigest(text)}
        path.write_bytes(text + json.dumps(last, separators=(",", ":")).encode() + b"\n")
    else:
        path.write_bytes(bytes_changed(whole, rng))
    if code := answer(lambda: read_plan(aside)):
        return code
    found = read_plan(aside)
    if not forged:
        if found != before:
            raise Wrong("a plan was altered, and nothing told")
        return "unaltered"
    write_plan(aside, found)
    if read_plan(aside) != found:
        raise Wrong("a plan reads as another when it is written again")
    return answer(lambda: finish(aside, folder / "grown", workers=1, verify=True)) or "carried out"


def manifest(folder: Path, rng: Random) -> str:
    """A checkpoint with its manifest, one of which was changed: told, unless every tensor is what it was."""
    good = _good() / "grown"
    shutil.copytree(good, folder, dirs_exist_ok=True)
    chosen = folder / rng.choice([MANIFEST, *(path.name for path in good.glob("*.safetensors*"))])
    change = text_changed if chosen.suffix == ".json" else rng.choice((header_changed, bytes_changed))
    chosen.write_bytes(change(chosen.read_bytes(), rng))
    if code := answer(lambda: verify(folder, workers=1)):
        return code
    before, after = (_all(one) for one in (good, folder))
    if before != after:
        raise Wrong("a tensor is another, and nothing told")
    return "no tensor changed"


def _all(folder: Path) -> RowSlice:
    return {
        k: v for path in sorted(folder.glob("*.safetensors")) for k, v in _by_the_library(path.read_bytes()).items()
    }


TARGETS = {"header": header, "index": index, "plan": plan, "manifest": manifest}

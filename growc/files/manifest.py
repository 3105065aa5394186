"""The manifest of a grown checkpoint: the digest of every tensor, and which source bytes it came from.

Nothing in it depends on times or places, so equal growths of equal checkpoints have equal manifests.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from growc.diagnostics import fail
from growc.files.atomic import sync_folder
from growc.files.lines import natural, of
from growc.files.plan import Copied, Made, Part, Plan, Zeros
from growc.files.strict import parse, read_bytes

MANIFEST = "growc.manifest.json"
"""File in a checkpoint that `growc verify` compares it with."""

LARGEST = 1 << 32
"""Bytes of a manifest; one of a million tensors has a tenth of that."""

BESIDE = ("config.json", "growth.json")
"""Files that say what the weights are: their digests belong to the manifest too."""

VERSION = 2


@dataclass(frozen=True)
class Manifest:
    """What `growc verify` needs of it: by file its size and the digest of its header, by tensor its file and digest.

    `ranges` are the bytes of tensors in files without headers, as start and end; there they cover their file. `beside`
    has digests of files that are no weights.
    """

    files: Mapping[str, tuple[int, str]]
    tensors: Mapping[str, tuple[str, bytes]]
    ranges: Mapping[str, tuple[int, int]]
    beside: Mapping[str, str]


def write_manifest(folder: Path, plan: Plan, digests: Sequence[bytes], origins: Mapping[Copied, bytes]) -> None:
    """Write the manifest whole or not at all.

    Args:
        folder: of the checkpoint.
        plan: what it was made by.
        digests: of all its tensors, in the order of the plan.
        origins: of the source bytes of every Copied part.
    """
    placed = [(output, start, tensor) for output in plan.outputs for start, tensor in output.places()]
    aside = folder / (MANIFEST + ".partial")
    with aside.open("w", encoding="utf-8") as file:
        file.write(_dump({**_head(plan), "beside": digests_beside(folder)}).removesuffix("}") + ',"tensors":{')
        for count, number in enumerate(sorted(range(len(placed)), key=lambda number: placed[number][2].name)):
            output, start, tensor = placed[number]
            parts = [_part(part, plan, origins) for part in tensor.parts]
            fields: dict[str, Any] = {"file": output.name, "from": parts, "xxh3_128": digests[number].hex()}
            if output.header is None:
                fields["bytes"] = [start, start + tensor.nbytes]
            file.write(f"{',' if count else ''}\n{json.dumps(tensor.name)}:{_dump(fields)}")
        file.write("\n}}\n")
        file.flush()
        os.fsync(file.fileno())
    aside.rename(folder / MANIFEST)
    sync_folder(folder)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint.

    Raises:
        GrowcError: GROW656, if there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        found = parse(read_bytes(path, LARGEST))
        if found["manifest"] != VERSION:
            raise ValueError("another version of growc wrote it")
        files = {name: (natural(file["size"]), of(str, file["header"])) for name, file in found["files"].items()}
        tensors = {n: (of(str, t["file"]), bytes.fromhex(t["xxh3_128"])) for n, t in found["tensors"].items()}
        ranges = {
            n: (natural(t["bytes"][0]), natural(t["bytes"][1])) for n, t in found["tensors"].items() if "bytes" in t
        }
        beside = {name: of(str, found["beside"][name]) for name in BESIDE if name in found["beside"]}
        _check_cover(files, tensors, ranges)
    except OSError as error:
        fail("GROW656", f"{path} cannot be read: {error.strerror}", help="`growc grow --verify` writes it")
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        fault = f"is damaged: {error or type(error).__name__}"
        fail("GROW656", f"{path} {fault}", help="fetch it again, or grow the checkpoint again with --verify")
    return Manifest(files, tensors, ranges, beside)


def digests_beside(folder: Path) -> dict[str, str]:
    """SHA-256 of those of `BESIDE` that a checkpoint has.

    Raises:
        OSError: one cannot be read.
    """
    there = [name for name in BESIDE if (folder / name).exists()]
    return {name: hashlib.sha256(read_bytes(folder / name)).hexdigest() for name in there}


def _check_cover(
    files: Mapping[str, tuple[int, str]],
    tensors: Mapping[str, tuple[str, bytes]],
    ranges: Mapping[str, tuple[int, int]],
) -> None:
    """ValueError, unless the ranges in every file without a header cover it, one after the other."""
    reached: dict[str, int] = {}
    for name, (start, end) in sorted(ranges.items(), key=lambda entry: entry[1]):
        file = tensors[name][0]
        if start != reached.get(file, 0) or end < start:
            raise ValueError(f"{name} does not follow what is before it")
        reached[file] = end
    for file, end in reached.items():
        if end != files[file][0]:
            raise ValueError(f"it does not tell of all of {file}")


def _head(plan: Plan) -> dict[str, Any]:
    files = {o.name: {"header": hashlib.sha256(o.head()[8:]).hexdigest(), "size": o.size} for o in plan.outputs}
    sources = [{"header": s.header, "name": Path(s.path).name, "size": s.size} for s in plan.sources]
    return {"files": files, "manifest": VERSION, "sources": sorted(sources, key=lambda source: source["name"])}


def _part(part: Part, plan: Plan, origins: Mapping[Copied, bytes]) -> dict[str, Any]:
    match part:
        case Copied(file, start, length):
            source = Path(plan.sources[file].path).name
            return {"length": length, "source": source, "start": start, "xxh3_128": origins[part].hex()}
        case Zeros(length):
            return {"length": length, "zeros": True}
        case Made(length, digest):
            return {"computed": True, "length": length, "xxh3_128": digest}


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)

"""The weight files of a Hugging Face folder: which they are, and whether they fit together; headers only.

The index may name plain files beside it and nothing else. A file so named may be a link to anywhere: the cache of the
hub consists of links to blobs, and who can make a link in the folder could as well have put the bytes there. What a
link leads to must be a regular file, and is read as strictly as any.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from growc.diagnostics import fail
from growc.files.headers import Entry, Header, read_header
from growc.files.plan import Source
from growc.files.strict import parse, read_bytes

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PACKED = "growc.packed.jsonl"
"""Index of a packed folder (`growc.files.packing`), which has no weights that could be read."""
DISTRIBUTED = ".metadata"
"""The index of a distributed checkpoint, which transformers does not read: see `growc.files.distributed`."""

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class WeightFiles:
    """The safetensors files of a folder by name, and for every tensor on disk the file it lies in."""

    folder: Path
    headers: Mapping[str, Header]
    location: Mapping[str, str]

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The number of every file, in the order of their names."""
        return {name: number for number, name in enumerate(sorted(self.headers))}

    def entry(self, name: str) -> Entry:
        """Where a tensor lies."""
        return self.headers[self.location[name]].tensors[name]

    def fingerprint(self) -> list[tuple[str, int, str]]:
        """Name, size and digest of the header of every file: what can be known without reading a payload."""
        return [(name, header.size, header.digest) for name, header in sorted(self.headers.items())]

    def sources(self) -> tuple[Source, ...]:
        """The weight files in the order of their names, by which parts of a plan number them."""
        paths = {name: (self.folder / name).absolute() for name in self.headers}
        return tuple(
            Source(str(paths[name]), header.size, paths[name].stat().st_mtime_ns, header.digest)
            for name, header in sorted(self.headers.items())
        )


def check_folder(folder: Path) -> None:
    """Refuse a checkpoint that is no folder (GROW650)."""
    if not folder.is_dir():
        what = "is not a folder" if os.path.lexists(folder) else "does not exist"
        fail("GROW650", f"{folder} {what}", help="give a Hugging Face folder, or a checkpoint of a run")


def read_folder(folder: Path) -> WeightFiles:
    """The weights of a folder as transformers finds them: `model.safetensors`, else the files of the index.

    Errors: GROW206 (only pickles), GROW207 (a name that leaves the folder), GROW208 (a damaged file), GROW209
    (no weights, or an index that disagrees with the files).
    """
    if os.path.lexists(folder / SINGLE):
        header = read_header(folder / SINGLE)
        return WeightFiles(folder, {SINGLE: header}, dict.fromkeys(header.tensors, SINGLE))
    if not os.path.lexists(folder / INDEX):
        _no_weights(folder)
    return _sharded(folder, _weight_map(folder / INDEX))


def _no_weights(folder: Path) -> NoReturn:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        fail(
            "GROW206",
            f"{folder} holds its weights as a pickle, {pickles[0]}, which growc never loads",
            help="convert it with `save_pretrained`, on a machine you can afford to lose",
        )
    if os.path.lexists(folder / PACKED):
        _disagree(f"{folder} is a packed checkpoint", "give it to `growc unpack`, and use what that writes")
    help = "for fresh weights, use `config` for `path`"
    if os.path.lexists(folder / DISTRIBUTED):
        help = (
            "`growc grow --from` reads its distributed checkpoint, with --layout published to make safetensors files; "
            "in that spec, let `model` be {config: config.json} of the folder"
        )
    elif any(folder.glob("*.distcp")):
        help = f"it has files of a distributed checkpoint, but not their index {DISTRIBUTED}: fetch it again"
    _disagree(f"{folder} holds no {SINGLE} and no {INDEX}", help)


def _sharded(folder: Path, weight_map: Mapping[str, str]) -> WeightFiles:
    names = sorted(set(weight_map.values()))
    for name in names:
        _check_name(folder, name)
        if not os.path.lexists(folder / name):
            _disagree(f"{folder / name} is missing; the index names it")
    headers = {name: read_header(folder / name) for name in names}
    held = [(tensor, name) for name, header in headers.items() for tensor in header.tensors]
    for tensor, name in held:
        if weight_map.get(tensor) != name:
            other = f"puts in {weight_map[tensor]}" if tensor in weight_map else "lacks"
            _disagree(f"{folder / name} holds {tensor}, which the index {other}")
    for tensor, name in weight_map.items():
        if tensor not in headers[name].tensors:
            _disagree(f"the index puts {tensor} in {folder / name}, which does not hold it")
    return WeightFiles(folder, headers, dict(weight_map))


def _weight_map(path: Path) -> dict[str, str]:
    try:
        index: Any = parse(read_bytes(path))
    except OSError as error:
        _disagree(f"{path} cannot be read: {error.strerror}")
    except ValueError as error:
        _disagree(f"{path} is no readable JSON: {error}")
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        _disagree(f"{path} has no weight_map")
    if not all(isinstance(name, str) for name in weight_map.values()):
        _disagree(f"{path} has a weight_map with values other than file names")
    return weight_map


def _check_name(folder: Path, name: str) -> None:
    if not name or name in (".", "..") or any(character in name for character in "/\\\0:"):
        fail("GROW207", f"the index in {folder} names the file {name!r}", help="only files beside it are read")
    if not name.endswith(".safetensors"):
        fail("GROW206", f"the index in {folder} names {name}, no safetensors file", help="convert the weights")


def _disagree(fault: str, help: str = "fetch the checkpoint again, or write it anew") -> NoReturn:
    fail("GROW209", fault, help=help)

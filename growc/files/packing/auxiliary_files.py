"""All files of a checkpoint but its weights: they go along as they are.

Whatever a reader might take for weights gets the ending `.packed`, so that nobody loads a packed folder by mistake.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

import xxhash

from growc.diagnostics import fail
from growc.files.copying import opened, read, write
from growc.files.folder import PICKLES
from growc.files.packing.index import Beside, damaged

ENDING = ".packed"

WEIGHTS = ("*.safetensors", "*.index.json", *PICKLES, "*.h5", "*.msgpack", "*.gguf")
"""Names that some reader loads weights from."""


def packed_name(name: str) -> str:
    """The path that a file of this path has in a packed folder; no two files get the same."""
    last = name.rpartition("/")[2]
    return name + ENDING if any(fnmatchcase(last, pattern) for pattern in (*WEIGHTS, f"*{ENDING}")) else name


def names_beside(folder: Path, weights: Container[str]) -> list[str]:
    """The paths of all files of a folder but these, in order; GROW660 if one is no file, nor a link to one."""
    return sorted(name for name in _walk(folder, folder) if name not in weights)


def _walk(root: Path, folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        name = path.relative_to(root).as_posix()
        if path.is_dir() and not path.is_symlink():
            yield from _walk(root, path)
        elif not path.is_file():
            _refuse(f"{path} is no regular file, nor a link to one")
        elif any("\ud800" <= letter <= "\udfff" for letter in name):
            _refuse(f"{os.fsencode(path)!r} has a name that is no Unicode")
        else:
            yield name


def pack_beside(folder: Path, aside: Path, names: list[str]) -> Iterator[Beside]:
    """Copy these files of `folder` into the packed folder `aside`."""
    for name in names:
        size, digest = _copy(folder / name, _place(aside, packed_name(name)))
        yield Beside(name, size, digest)


def unpack_beside(folder: Path, aside: Path, file: Beside) -> None:
    """Copy a file of the packed `folder` back; GROW672 if it is not what was packed."""
    path = folder / packed_name(file.name)
    if not path.is_file():
        damaged(path, "is missing, or no regular file")
    if _copy(path, _place(aside, file.name)) != (file.size, file.digest):
        damaged(path, "is not the file that was packed")


def _place(aside: Path, name: str) -> Path:
    path = aside / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy a file; its size and digest, of what was read."""
    digest, at = xxhash.xxh3_128(), 0
    with opened(source) as reads, opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writes:
        size = os.fstat(reads).st_size
        for piece in read(reads, 0, size):
            digest.update(piece)
            write(writes, piece, at)
            at += len(piece)
    return size, digest.hexdigest()


def _refuse(fault: str) -> NoReturn:
    fail("GROW660", fault, help="fetch it, rename it, or remove it: the packed checkpoint would lack it")

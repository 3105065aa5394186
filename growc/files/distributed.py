"""The files of a torch distributed checkpoint (DCP): which they are, without torch and without its pickled index."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import NoReturn

from growc.diagnostics import fail
from growc.files import folder as hub
from growc.files.strict import read_bytes

INDEX = hub.DISTRIBUTED
"""The file that says which tensors there are, and where: a pickle."""

SHARD = ".distcp"
"""How the names of the files with the tensors end."""

HEAD = 4096
"""Bytes of a shard, which has no header, that stand for it in its digest."""


def is_distributed(folder: Path) -> bool:
    """Whether the weights of a folder are a distributed checkpoint, and no safetensors files.

    Raises:
        GrowcError: GROW663, if they are both.
    """
    if not os.path.lexists(folder / INDEX):
        return False
    named = [name for name in (hub.SINGLE, hub.INDEX) if os.path.lexists(folder / name)]
    if named and any(folder.glob(f"*{SHARD}")):
        unsound(folder, f"holds its weights twice: {named[0]} and {INDEX}")
    return not named


def fingerprint(folder: Path) -> list[tuple[str, int, str]]:
    """Name, size and digest of all weight files of a folder: what can be known without reading a payload.

    Raises:
        GrowcError: GROW206 to GROW209, GROW663 (files that are damaged or disagree).
    """
    if not is_distributed(folder):
        return hub.read_folder(folder).fingerprint()
    try:
        index = read_bytes(folder / INDEX)
        shards = [(path.name, size_of(path), head_digest(path)) for path in sorted(folder.glob(f"*{SHARD}"))]
    except OSError as error:
        unsound(Path(error.filename or folder), f"cannot be read: {error.strerror}")
    return [(INDEX, len(index), hashlib.sha256(index).hexdigest()), *shards]


def size_of(path: Path) -> int:
    """Bytes of a regular file; GROW663 if it is none."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        unsound(path, "is no regular file")
    return status.st_size


def head_digest(path: Path) -> str:
    """What stands for a shard where `growc.files.headers.header_digest` does for a safetensors file.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.sha256(file.read(HEAD)).hexdigest()


def unsound(path: Path, fault: str) -> NoReturn:
    """Refuse a distributed checkpoint of which `path` is a part."""
    help = "fetch the checkpoint again, or save it anew with `torch.distributed.checkpoint.save`"
    fail("GROW663", f"{path} {fault}", help=help)

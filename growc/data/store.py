"""Writing prepared data: a folder that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from growc.data.documents import Chunk
from growc.data.manifest import NAME, Extent, Manifest, Part
from growc.data.tokenizer import Ids, Tokenizer
from growc.diagnostics import fail

_GROUP = 1 << 20
"""Characters that are tokenized at a time."""


@contextmanager
def writing(folder: Path) -> Generator[Path]:
    """A fresh folder beside `folder`, which takes its place once the body is through.

    If the body fails, nothing is left of it. What stood at `folder` is replaced only if it was prepared data.

    Raises:
        GrowcError: GROW514 if something else stands at `folder`, GROW515 if the system refuses to write.
    """
    partial, replaced = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "replaced"))
    try:
        if folder.exists() and not (folder / NAME).exists() and (folder.is_file() or any(folder.iterdir())):
            fail("GROW514", f"{folder} is not a folder of prepared data", help="move it away")
        for leftover in (partial, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _sync(partial)
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
        _sync(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        fail("GROW515", f"{error.filename or folder} cannot be written: {error.strerror}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_part(path: Path, documents: Iterable[Chunk], tokenizer: Tokenizer) -> Part:
    """Tokenize documents into a flat file, each with the separator after it."""
    dtype: Literal["uint16", "uint32"] = "uint16" if tokenizer.size <= 1 << 16 else "uint32"
    stored = np.dtype(dtype).newbyteorder("<")
    separator = np.array([tokenizer.separator], dtype=stored)
    digest = sha256()
    tokens = ended = 0
    with path.open("wb") as file:
        for group in _groups(documents):
            ids = tokenizer.encode([chunk.text for chunk in group])
            pieces: list[Ids] = []
            for text, chunk in zip(ids, group, strict=True):
                pieces += (text, separator) if chunk.last else (text,)
            block = np.concatenate(pieces, dtype=stored, casting="unsafe")
            file.write(block.data)
            digest.update(block.data)
            tokens += block.size
            ended += sum(chunk.last for chunk in group)
        file.flush()
        os.fsync(file.fileno())
    extents = (Extent(file=path.name, dtype=dtype, start=0, tokens=tokens),)
    return Part(extents=extents, documents=ended, sha256=digest.hexdigest())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """The last file of a folder of prepared data."""
    with (folder / NAME).open("w") as file:
        file.write(manifest.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _groups(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """Chunks in lists of about a million characters, so that a tokenizer can work on several at once."""
    group: list[Chunk] = []
    size = 0
    for chunk in chunks:
        group.append(chunk)
        size += len(chunk.text) + 1
        if size >= _GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

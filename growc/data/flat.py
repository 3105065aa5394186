"""Flat token files: used where they lie, never copied; read through once to check their ids."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from growc.data.files import DataFile, reading
from growc.data.manifest import Extent, Part
from growc.data.split import Piece
from growc.diagnostics import fail

_BLOCK = 1 << 20

_MARKS = {
    b"\x93NUMPY": "a NumPy array with a header",
    b"MMIDIDX": "the index of a Megatron data set",
    (20240520).to_bytes(4, "little"): "an llm.c file with a header",
}


def check_files(files: Sequence[DataFile], width: int) -> None:
    """Refuse files that cannot be flat ids of `width` bytes.

    Raises:
        GrowcError: GROW507 for an impossible length, GROW508 for the mark of another format.
    """
    for file in files:
        with reading(file.path) as stream:
            start = stream.read(8)
        if other := next((name for mark, name in _MARKS.items() if start.startswith(mark)), None):
            fail(
                "GROW508",
                f"{file.path} is {other}, not flat tokens",
                help="write the ids alone to a flat file",
            )
        if file.size % width:
            fail(
                "GROW507",
                f"{file.path} has {file.size} bytes, which is not a multiple of {width}",
                help="check `dtype`, and that the file is whole",
            )


def scan(pieces: Sequence[Piece], dtype: Literal["uint16", "uint32"], vocab_size: int) -> Part:
    """Describe pieces of token files as a part, after reading every id once, a megabyte at a time.

    Raises:
        GrowcError: GROW509, if an id is not below `vocab_size`.
    """
    stored = np.dtype(dtype).newbyteorder("<")
    digest = sha256()
    extents: list[Extent] = []
    for piece in pieces:
        with reading(piece.path) as file:
            file.seek(piece.start)
            for offset in range(piece.start, piece.stop, _BLOCK):
                block = file.read(min(_BLOCK, piece.stop - offset))
                _check_ids(np.frombuffer(block, stored), vocab_size, piece.path, offset // stored.itemsize)
                digest.update(block)
        width = stored.itemsize
        extents.append(
            Extent(
                file=str(piece.path),
                dtype=dtype,
                start=piece.start // width,
                tokens=(piece.stop - piece.start) // width,
            )
        )
    return Part(extents=tuple(extents), documents=len(extents), sha256=digest.hexdigest())


def _check_ids(
    ids: np.ndarray[tuple[int], np.dtype[np.unsignedinteger]], vocab_size: int, path: Path, position: int
) -> None:
    if ids.size and int(ids.max()) >= vocab_size:
        first = int(np.argmax(ids >= vocab_size))
        fail(
            "GROW509",
            f"{path}: token {int(ids[first])} at position {position + first}; the vocabulary is {vocab_size}",
            help="check `dtype`, and that the tokens are of the model's tokenizer",
        )

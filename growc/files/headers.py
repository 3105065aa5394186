"""Safetensors headers, read strictly and without torch: everything the format forbids is refused (GROW208).

Stricter than the safetensors library: keys given twice (two parsers would read two tensors), bytes before the
header's first brace, fields the format does not have, and empty names are errors too.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from growc.diagnostics import fail
from growc.files.strict import Twice, parse

HEADER_LIMIT = 100_000_000
"""Bytes; the library's own limit."""

MOST_AXES = 64
"""The product of more sizes than any tensor has could take for ever."""

BITS: Mapping[str, int] = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
"""Bits per element of every dtype of the format."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file; `start` and `end` are byte offsets from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """A file's tensors in order of their bytes, its metadata and size, and the digest of its header."""

    tensors: Mapping[str, Entry]
    metadata: Mapping[str, str]
    size: int
    digest: str


def read_header(path: Path) -> Header:
    """The header of a safetensors file, with every range checked against the file's size.

    Errors: GROW208.
    """
    try:
        kind = path.stat()
        if not stat.S_ISREG(kind.st_mode):  # opening a pipe would wait for its other end
            _refuse(path, "is not a regular file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(prefix := file.read(8), "little")
            if len(prefix) < 8:
                _refuse(path, f"has {size} bytes, too few for a header")
            if length > min(HEADER_LIMIT, size - 8):
                _refuse(path, f"announces a header of {length} bytes, but has {size} in all")
            header = file.read(length)
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}")
    fields = _parse(path, header)
    metadata = _metadata(path, fields.pop("__metadata__", {}))
    entries = [_entry(path, name, field, 8 + length) for name, field in fields.items()]
    ordered = sorted(entries, key=lambda entry: (entry.start, entry.end))
    _check_cover(path, ordered, 8 + length, size)
    return Header({e.name: e for e in ordered}, metadata, size, hashlib.sha256(header).hexdigest())


def _parse(path: Path, header: bytes) -> dict[str, Any]:
    if not header.startswith(b"{"):
        _refuse(path, "does not start its header with a brace")
    try:
        fields = parse(header)
    except Twice as error:
        _refuse(path, f"has a header in which {error}")
    except ValueError as error:
        _refuse(path, f"has a header that is not JSON: {error}")
    return fields


def _metadata(path: Path, metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict):
        _refuse(path, "has metadata that is no mapping")
    texts = cast(dict[str, Any], metadata)
    if not all(isinstance(text, str) for text in texts.values()):
        _refuse(path, "has metadata other than text")
    return texts


def _entry(path: Path, name: str, field: Any, base: int) -> Entry:
    if not name or "\0" in name:
        _refuse(path, f"has a tensor named {name!r}")
    if not isinstance(field, dict) or field.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(path, f"describes {name} by other fields than dtype, shape and data_offsets")
    dtype, shape, offsets = field["dtype"], field["shape"], field["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        _refuse(path, f"gives {name} the unknown dtype {str(dtype)[:40]!r}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        _refuse(path, f"gives {name} a shape and offsets that are not lists of whole numbers")
    if len(shape) > MOST_AXES or max((*shape, *offsets)) >= 2**63:
        _refuse(path, f"gives {name} a shape or offsets that no file has")
    bits = BITS[dtype] * math.prod(shape)
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        _refuse(path, f"gives {name}, {dtype} of shape {shape}, the bytes {offsets[0]} to {offsets[1]}")
    return Entry(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _naturals(items: Any) -> bool:
    return isinstance(items, list) and all(type(i) is int and i >= 0 for i in cast(list[Any], items))


def _check_cover(path: Path, ordered: list[Entry], base: int, size: int) -> None:
    """The tensors must cover the data exactly: no overlap, no hole, nothing after the last."""
    reached = base
    for entry in ordered:
        if entry.start != reached:
            _refuse(path, f"has {'a hole before' if entry.start > reached else 'an overlap at'} {entry.name}")
        reached = entry.end
    if reached > size:
        _refuse(path, f"is cut short: {ordered[-1].name} ends at byte {reached}, the file at {size}")
    if reached < size:
        _refuse(path, f"has {size - reached} bytes after its last tensor")


def _refuse(path: Path, fault: str) -> NoReturn:
    fail("GROW208", f"{path} {fault}", help="fetch the file again, or write it anew with `save_pretrained`")


def header_digest(path: Path) -> str:
    """The digest of a file's header as `Header.digest` has it, without looking at what it says.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return hashlib.sha256(file.read(min(length, HEADER_LIMIT))).hexdigest()

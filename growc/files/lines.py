"""JSON lines of which the last proves the others whole: read strictly, and written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import xxhash

from growc.files.atomic import sync_folder
from growc.files.strict import LIMIT, parse

_encode = json.JSONEncoder(separators=(",", ":")).encode


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write one line for each value, and the last."""
    aside = path.with_name(path.name + ".partial")
    digest, count = xxhash.xxh3_128(), 0
    with aside.open("wb") as file:
        for value in values:
            line = _line(value)
            digest.update(line)
            file.write(line)
            count += 1
        file.write(_last(count, digest))
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    sync_folder(path.parent)


def read_lines(file: BinaryIO) -> Iterator[Any]:
    """The values of all lines but the last, which is compared with what came before it.

    Raises:
        ValueError: a line is no JSON or far too long, or the last does not fit the others.
        OSError: the file cannot be read.
    """
    digest, count, held = xxhash.xxh3_128(), 0, b""
    while line := file.readline(LIMIT):
        if held:
            digest.update(held)
            count += 1
            yield parse(held)
        held = line
    if held != _last(count, digest):
        raise ValueError("its last line does not fit the others")


def _line(value: Any) -> bytes:
    return _encode(value).encode() + b"\n"


def _last(count: int, digest: xxhash.xxh3_128) -> bytes:
    return _line({"lines": count, "xxh3_128": digest.hexdigest()})


_Kind = TypeVar("_Kind")


def of(kind: type[_Kind], value: Any) -> _Kind:
    """The value, which must be just of this kind, or TypeError."""
    if type(value) is not kind:
        raise TypeError(f"{value!r} for {kind.__name__}")
    return value


def natural(value: Any) -> int:
    """The value, which must be a whole number of at least 0, or TypeError or ValueError."""
    if of(int, value) < 0:
        raise ValueError(f"{value} for a size")
    return value

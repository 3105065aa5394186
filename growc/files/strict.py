"""JSON that somebody else wrote, read strictly: nothing is guessed, and nothing is waited for."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LIMIT = 100_000_000
"""Bytes of the largest file that is read whole: an index of a million tensors has fewer."""


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """All bytes of a regular file; links are followed.

    Raises:
        OSError: it cannot be opened, is a pipe, a device or a folder, or has more than `limit` bytes.
    """
    # Without O_NONBLOCK, opening a pipe would wait for its other end.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"More than {limit} bytes", str(path))
    return data


class Twice(ValueError):
    """A key given twice in one JSON object: two readers would see two values."""


def parse(text: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        Twice: an object has a key twice.
        ValueError: it is no JSON, no Unicode, or nested too deeply to be read.
    """
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique)
        if b"\\u" in text:  # Python reads half a surrogate pair, and can neither print it nor name a file by it
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set[str]()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise Twice(f"{twice!r} is given twice")
    return found


INFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
FLOAT = "__float__"
"""The key of a mapping that stands for a number which JSON has no word for, as transformers writes it."""


def decoded(value: Any) -> Any:
    """A JSON value with numbers in the place of mappings like `{"__float__": "Infinity"}`."""
    match value:
        case dict():
            tag = value.get(FLOAT) if len(value) == 1 else None
            if isinstance(tag, str) and tag in INFINITE:
                return INFINITE[tag]
            return {key: decoded(part) for key, part in value.items()}
        case list():
            return [decoded(part) for part in value]
        case _:
            return value


def encoded(value: Any) -> Any:
    """The way back: every reader of JSON can read the result."""
    match value:
        case float() if not math.isfinite(value):
            return {FLOAT: next(tag for tag, one in INFINITE.items() if repr(one) == repr(value))}
        case dict():
            return {key: encoded(part) for key, part in value.items()}
        case list():
            return [encoded(part) for part in value]
        case _:
            return value


def depth(value: Any) -> int:
    """In how many lists and mappings the deepest value lies."""
    found, level = -1, [value]
    while level:
        level = [part for one in level if isinstance(one, dict | list) for part in _parts(one)]
        found += 1
    return found


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value

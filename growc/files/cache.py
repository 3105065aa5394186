"""Results kept between calls, in the user's cache folder: what takes seconds to compute, and no weights to know.

`GROWC_CACHE` names another folder, or is `off`. An entry is one file of JSON, which can run no code: a line that says
what was asked, with the digest of the answer, and the answer. It is believed if what was asked is the same to the
last letter, versions included, and the digest fits; anything else is as good as no entry. Entries may go at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

VARIABLE, OFF = "GROWC_CACHE", "off"
FORMAT = 1
LIMIT = 256 * 2**20
"""Bytes that all entries may take together; past it, those that were read longest ago go."""
LEFT = 0.75
"""Share of the limit that is left then."""
BETWEEN = 1 / 16
"""Share of the limit that a process writes before it measures all entries anew; it measures them at its first, too."""
ENTRY = re.compile(r"[0-9a-f]{64}\.json(\..+)?")
"""Names of entries, and of those that are not whole yet: the folder may hold files of others, which are theirs."""


@dataclass(frozen=True)
class Entry:
    """What was found; its value may be None."""

    value: Any


def folder() -> Path | None:
    """Where entries lie; None if nothing is kept, as for a user without a home."""
    named = os.environ.get(VARIABLE, "")
    if named == OFF:
        return None
    path = Path(named) if named else user_cache_path("growc", appauthor=False)
    return path if named or path.is_absolute() else None


def load(kind: str, key: Mapping[str, Any]) -> Entry | None:
    """The value that was stored under this key of JSON values; None if there is none to be believed."""
    if (root := folder()) is None:
        return None
    head = _head(kind, key)
    try:
        content = _read(root / kind / _name(head))
    except OSError as error:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            _warn_once(root, error)
        return None
    first, _, text = content.partition(b"\n")
    if first != _line(head, text):
        return None
    return Entry(json.loads(text))


def store(kind: str, key: Mapping[str, Any], value: Any) -> None:
    """Keep a JSON value under a key of JSON values, whole or not at all; without success it is computed again."""
    if (root := folder()) is None:
        return
    head, text = _head(kind, key), json.dumps(value).encode()
    path = root / kind / _name(head)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        content = _line(head, text) + b"\n" + text
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as aside:
            try:
                aside.write(content)
                aside.flush()
                Path(aside.name).replace(path)
            except BaseException:
                Path(aside.name).unlink(missing_ok=True)
                raise
        _written[root] = _written.get(root, LIMIT) + len(content)
        if _written[root] > BETWEEN * LIMIT:
            _written[root] = 0
            _trim(root)
    except OSError as error:
        _warn_once(root, error)


def _head(kind: str, key: Mapping[str, Any]) -> bytes:
    return json.dumps({"format": FORMAT, "kind": kind, "key": key}, sort_keys=True).encode()


def _name(head: bytes) -> str:
    return f"{hashlib.sha256(head).hexdigest()}.json"


def _line(head: bytes, text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode() + b" " + head


def _read(path: Path) -> bytes:
    """A regular file of this user's or of root's, that nobody else may write, and no link.

    Its time says then that it was read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        foreign = status.st_uid not in (os.geteuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(status.st_mode) or foreign:
            raise FileNotFoundError(path)
        content = file.read()
    with contextlib.suppress(OSError):  # a folder that cannot be written to can be read all the same
        os.utime(path)
    return content


def _trim(root: Path) -> None:
    """Remove the entries that were read longest ago, if all are too large together."""
    found: list[tuple[float, int, Path]] = []
    for path in root.glob("*/*.json*"):
        if not ENTRY.fullmatch(path.name):
            continue
        with contextlib.suppress(FileNotFoundError):  # another process trims too
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    size = sum(length for _, length, _ in found)
    if size <= LIMIT:
        return
    for _, length, path in sorted(found):
        if size <= LEFT * LIMIT:
            return
        path.unlink(missing_ok=True)
        size -= length


def _warn_once(root: Path, error: OSError) -> None:
    _warnings.append(root)
    if len(_warnings) == 1:
        reason = error.strerror or type(error).__name__
        logging.getLogger("growc").warning(
            "the cache in %s cannot be used: %s; set %s to another folder, or to off", root, reason, VARIABLE
        )


_written: dict[Path, int] = {}
"""Bytes that this process has written to each folder since it measured all entries there."""

_warnings: list[Path] = []
"""The folders that were warned of in this process: a second warning would say nothing new."""

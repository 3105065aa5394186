"""Files and folders that appear whole or not at all: written aside, synced, renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, where a link leads if it is one.

    Raises:
        OSError: it cannot be written, or something else than a file is there: no device or pipe is ever replaced.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "it is there, and no regular file")
    aside = path.with_name(path.name + ".partial")
    try:
        with aside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def appears(path: Path) -> Generator[Path]:
    """A folder to fill, which takes the name `path` when the block ends well: the one act that commits it."""
    aside = path.with_name(path.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    commit(aside, path)


def commit(aside: Path, path: Path) -> None:
    """Sync the files of `aside` and give it the name `path`."""
    for file in (*aside.rglob("*"), aside):
        sync_folder(file)
    aside.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush a file or the entries of a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

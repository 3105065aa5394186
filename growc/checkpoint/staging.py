"""Where a new checkpoint is put together: a folder beside its destination, which takes its name when it is whole."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from growc.checkpoint.atomic import commit
from growc.diagnostics import fail


def check_destination(path: Path, source: Path) -> None:
    """Refuse a destination that exists, or that lies in the source or holds it (GROW642)."""
    if os.path.lexists(path):
        _refuse(f"{path} exists already", "growc never writes over a checkpoint: choose another --to, or remove it")
    real, aside = path.resolve(), _aside(path).resolve()
    if source.resolve() in (aside, *real.parents) or aside in source.resolve().parents:
        _refuse(f"{path} lies inside the source {source}, or the other way round", "choose another --to")
    if os.path.lexists(_aside(path)) and (_aside(path).is_symlink() or not _aside(path).is_dir()):
        _refuse(f"{_aside(path)} is in the way", "growc puts the checkpoint together there: remove it")


@contextmanager
def staged(path: Path, size: int) -> Generator[Path]:
    """A folder to fill, which becomes `path` when the block ends well and vanishes when it fails.

    A killed process leaves it behind, as `path` plus `.partial`; the next call replaces it. A lock on it, which dies
    with its process, keeps two processes from filling one folder.

    Args:
        path: the destination, which must not exist.
        size: bytes that will be written.

    Raises:
        GrowcError: GROW642 (another process is at it), GROW643 (not enough space), GROW644 (the system refuses).
    """
    aside = _aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if aside.exists():
            with _locked(aside, path):
                shutil.rmtree(aside)
        _check_space(path.parent, size)
        aside.mkdir()
        with _locked(aside, path):
            try:
                yield aside
                commit(aside, path)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        fail(
            "GROW644",
            f"the checkpoint cannot be written:{where} {error.strerror or error}",
            help="nothing was left behind",
        )


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _check_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        fail(
            "GROW643",
            f"the grown checkpoint takes {size / 1e9:.2f} GB, and the disk of {folder} has {free / 1e9:.2f} GB free",
            help="free some space, or put --to on another disk",
        )


@contextmanager
def _locked(aside: Path, path: Path) -> Generator[None]:
    handle = os.open(aside, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _refuse(f"another process is writing {path}", "wait for it, or choose another --to")
        yield
    finally:
        os.close(handle)


def _refuse(fault: str, help: str) -> NoReturn:
    fail("GROW642", fault, help=help)

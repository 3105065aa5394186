"""Where a new checkpoint is put together: a folder beside its destination, which takes its name when it is whole."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from growc.diagnostics import fail
from growc.files.planfile import plan_key


def check_destination(path: Path, source: Path) -> None:
    """Refuse a destination that exists, or that lies in the source or holds it (GROW642)."""
    if os.path.lexists(path):
        _refuse(f"{path} exists already", "growc never writes over a checkpoint: choose another --to, or remove it")
    nearest = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not nearest.is_dir():
        _refuse(f"{nearest} is no folder", "choose another --to")
    real, aside = path.resolve(), _aside(path).resolve()
    if source.resolve() in (aside, *real.parents) or aside in source.resolve().parents:
        _refuse(f"{path} lies inside the source {source}, or the other way round", "choose another --to")
    if os.path.lexists(_aside(path)) and (_aside(path).is_symlink() or not _aside(path).is_dir()):
        _refuse(f"{_aside(path)} is in the way", "growc puts the checkpoint together there: remove it")


@contextmanager
def open_staging(to: Path, key: str | None = None) -> Generator[tuple[Path, bool]]:
    """The folder where `to` is put together, locked, and whether it holds a whole plan to go on with.

    If it does not, the folder is empty. When the block ends, a folder with a plan stays for the next call, and one
    without a plan is removed. The lock dies with its process and keeps two processes from filling one folder.

    Args:
        to: the destination, which must not exist.
        key: of the plan that is wanted; a folder with another plan is emptied. None takes any plan.

    Raises:
        GrowcError: GROW642 (another process is at it), GROW644 or GROW653 (the system refuses; nothing was kept, or
            the plan and what has been done of it).
    """
    aside = _aside(to)
    resumed = False
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(aside, to) as handle:
            held = plan_key(aside)
            resumed = held is not None and key in (None, held)
            if not resumed:
                _empty(aside)
            try:
                yield aside, resumed
            finally:
                # Another process may have made a folder of this name since ours took its own.
                if _is_same(aside, handle) and not (resumed := plan_key(aside) is not None):
                    shutil.rmtree(aside)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        fault = f"the checkpoint cannot be written:{where} {error.strerror or error}"
        if resumed:
            fail("GROW653", fault, help=f"what is done is kept in {aside}: mend that, and run the same command again")
        fail("GROW644", fault, help="nothing was left behind")


@contextmanager
def _claimed(aside: Path, to: Path) -> Generator[int]:
    """The folder, made if need be, under its lock; yields its descriptor."""
    while True:
        aside.mkdir(exist_ok=True)
        try:
            handle = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # removed in between
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _refuse(f"another process is writing {to}", "wait for it, or choose another --to")
            if _is_same(aside, handle):
                yield handle
                return
        finally:
            os.close(handle)


def _is_same(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _empty(folder: Path) -> None:
    for entry in list(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def free_space(folder: Path) -> int:
    """Bytes that may still be written to the disk of a folder."""
    return shutil.disk_usage(folder).free


def check_space(folder: Path, size: int) -> None:
    """Refuse to write `size` bytes where there is no room for them (GROW643)."""
    free = free_space(folder)
    if free < size:
        from rich.filesize import decimal

        fail(
            "GROW643",
            f"the new checkpoint takes {decimal(size)}, and the disk of {folder} has {decimal(free)} free",
            help="free some space, or put --to on another disk",
        )


def _refuse(fault: str, help: str) -> NoReturn:
    fail("GROW642", fault, help=help)

"""A byte plan carried out: every file filled, synced, verified if asked, and the folder given its name.

A call that is killed, or stopped by the system, leaves a folder in which the next call goes on: chunks are recorded
once they are on the disk. The bytes do not depend on the number of threads, nor on how often it was stopped.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from growc.diagnostics import Diagnostic, GrowcError, fail
from growc.files.atomic import sync_folder
from growc.files.copying import Shortened
from growc.files.distributed import SHARD, head_digest
from growc.files.fill import fill
from growc.files.headers import header_digest
from growc.files.index import write_index
from growc.files.ledger import LEDGER
from growc.files.plan import Plan, Source
from growc.files.planfile import PLAN, read_plan
from growc.files.progress import Listener
from growc.files.prove import prove
from growc.files.space import check_room
from growc.files.workers import WORKERS, in_parallel

Audit = Callable[[Path], tuple[Diagnostic, ...]]
"""Looks at a folder that is whole but for its name; returns warnings, or raises what is wrong with it."""


def finish(
    aside: Path,
    to: Path,
    *,
    workers: int = WORKERS,
    verify: bool = False,
    audit: Audit | None = None,
    listener: Listener | None = None,
) -> tuple[Diagnostic, ...]:
    """Carry out the plan in `aside`, and rename that folder to `to`.

    The caller holds the lock of `aside` (`growc.files.staging.open_staging`).

    Args:
        aside: a folder with a plan, the files that hold its Made parts, and whatever else the checkpoint has.
        to: the name it takes; a folder on the same file system.
        workers: threads that copy.
        verify: whether to read all that was written again, and write `growc.manifest.json`.
        audit: has the last word on the folder before it takes its name; what it refuses is not gone on with.
        listener: told of the bytes copied and verified.

    Returns:
        The warnings of `audit`.

    Raises:
        GrowcError: what `audit` raises; GROW642 (`to` has come to exist), GROW643 (not enough space), GROW652 (a
            damaged folder), GROW653 (the system refuses), GROW654 (a source changed), GROW655 (a tensor is not what the
            plan says).
    """
    plan = read_plan(aside)
    try:
        check_sources(plan, aside)
        check_room(plan, aside)
        fill(plan, aside, workers, listener)
        for _ in in_parallel(sync_folder, list(aside.rglob("*")), workers):
            pass
        check_sources(plan, aside)
        if verify:
            prove(plan, aside, workers, listener)
        write_index(aside, plan)
        warnings = _audited(aside, audit) if audit else ()
        if os.path.lexists(to):
            fail("GROW642", f"{to} has come to exist", help=f"rename {aside} yourself, or remove {to}")
        _publish(aside, to)
        return warnings
    except Shortened:
        _changed(aside, "a source became shorter while it was read")
    except OSError as error:
        _stopped(error, aside)


def _audited(aside: Path, audit: Audit) -> tuple[Diagnostic, ...]:
    try:
        return audit(aside)
    except GrowcError:
        (aside / PLAN).unlink()  # the folder cannot be gone on with
        raise


def _publish(aside: Path, to: Path) -> None:
    """Give a folder, whose files are on the disk, its name; a kill between removing the plan and this begins anew."""
    (aside / LEDGER).unlink()
    (aside / PLAN).unlink()
    aside.rename(to)
    sync_folder(to.parent)


def check_sources(plan: Plan, aside: Path) -> None:
    """Refuse sources that are not the files that the plan was made from (GROW654)."""
    for source in plan.sources:
        if fault := difference(source):
            _changed(aside, f"{source.path} {fault}")


def difference(source: Source) -> str | None:
    """What is otherwise with a source than when it was read; None if nothing is."""
    path = Path(source.path)
    try:
        status = path.stat()
        header = head_digest(path) if path.suffix == SHARD else header_digest(path)
    except FileNotFoundError:
        return "is gone"
    if status.st_size != source.size:
        return f"has {status.st_size} bytes, not {source.size}"
    if status.st_mtime_ns != source.mtime_ns:
        return "was written to"
    return None if header == source.header else "has another header"


def _changed(aside: Path, fault: str) -> NoReturn:
    fail("GROW654", f"{fault}, since the growth was planned", help=f"remove {aside} and run the same command again")


def _stopped(error: OSError, aside: Path) -> NoReturn:
    where = f" at {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        help = "free some space there and run the same command again"
    elif error.errno == errno.EIO:
        help = "look for faults of the disk in the system's log, then run the same command again"
    else:
        help = "mend that and run the same command again"
    fail(
        "GROW653",
        f"the system stopped the growth{where}: {error.strerror or error}",
        help=f"{help}: it goes on with what is done, which is kept in {aside}",
    )

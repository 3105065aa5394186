"""`growc grow`: one grow stage on a checkpoint folder, file to file, without training and without an accelerator.

This process moves bytes, and imports neither torch nor transformers: what needs them runs in a child, and is gone when
the moving starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from growc.checkpoint.request import Request
from growc.diagnostics import Diagnostic, GrowcError, fail
from growc.files.move import finish
from growc.files.progress import Listener
from growc.files.staging import check_destination, open_staging
from growc.files.workers import WORKERS

Prepare = Callable[[Request, Path], tuple[Diagnostic, ...]]
"""`growc.checkpoint.prepare.prepare`, here or in another process; or `growc.audit.audit.audit`, of a grown folder."""


def grow(
    request: Request,
    prepare: Prepare,
    *,
    workers: int = WORKERS,
    verify: bool = False,
    audit: Prepare | None = None,
    listener: Listener | None = None,
) -> tuple[Diagnostic, ...]:
    """Grow a checkpoint folder; the result appears whole or not at all.

    A call that was killed, or met a full disk, is taken up by the next one with the same request.

    Args:
        request: what is asked for.
        prepare: fills the folder with what is not moved, and plans the rest.
        workers: threads that move bytes.
        verify: whether to read all that was written again, and write a manifest.
        audit: has the last word on the folder before it takes its name.
        listener: told of the bytes moved.

    Returns:
        Warnings of `prepare`, none if it had been done by an earlier call, and of `audit`.

    Raises:
        GrowcError: anything that keeps the folder from being grown.
    """
    key = request.key()
    check_destination(request.to, request.source)
    warnings: tuple[Diagnostic, ...] = ()
    with open_staging(request.to, key) as (aside, resumed):
        if not resumed:
            warnings = prepare(request, aside)
        last = partial(audit, request) if audit else None
        told = finish(aside, request.to, workers=workers, verify=verify, audit=last, listener=listener)
    return (*warnings, *told)


def prepare_in_a_child(request: Request, aside: Path) -> tuple[Diagnostic, ...]:
    """`prepare` in a process of its own, so that the memory of torch is gone when the moving starts.

    Raises:
        GrowcError: what the child found; GROW659 if it died.
    """
    return _in_a_child("growc.checkpoint.prepare", request, aside)


def audit_in_a_child(request: Request, aside: Path) -> tuple[Diagnostic, ...]:
    """`growc.audit.audit.audit` in a process of its own; it is started by name, and nothing of it is imported here.

    Raises:
        GrowcError: what the child found; GROW659 if it died.
    """
    return _in_a_child("growc.audit.audit", request, aside)


def _in_a_child(module: str, request: Request, aside: Path) -> tuple[Diagnostic, ...]:
    answer, into = os.pipe()
    asked = json.dumps({"request": asdict(request), "aside": aside}, default=str)
    command = [sys.executable, "-m", module, str(into), asked]
    with subprocess.Popen(command, pass_fds=(into,), stdout=sys.stderr) as child, os.fdopen(answer) as stream:
        os.close(into)
        try:
            told = stream.read()
        except KeyboardInterrupt:  # which need not have reached the child
            child.kill()
            raise
    if not told:
        help = "its own words stand above; a traceback is a fault of growc: please report it"
        fail("GROW659", f"the process that reads the model died (exit code {child.returncode})", help=help)
    answered: dict[str, Any] = json.loads(told)
    diagnostics = tuple(Diagnostic.read(values) for values in answered["diagnostics"])
    if answered["failed"]:
        raise GrowcError(diagnostics)
    return diagnostics

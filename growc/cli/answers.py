"""What `growc check` answered before, for specs of which nothing has changed: told without importing torch."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from growc.diagnostics import Diagnostic
from growc.diagnostics.invariant import Invariant
from growc.files import cache
from growc.files.paths import located
from growc.files.strict import read_bytes
from growc.files.versions import versions
from growc.spec import LoadedSpec
from growc.spec.schema import Model

Answer = tuple[tuple[Diagnostic, ...], tuple[Invariant, ...]]
ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)
KIND = "answers"
SMALL = 4 * 2**20
"""Bytes of the largest file that is read to see whether it has changed: no config has as many."""


def recall(key: dict[str, Any] | None) -> Answer | None:
    """The diagnostics and invariants that were found under `key`; None if there was no such call."""
    entry = cache.load(KIND, key) if key is not None else None
    return ANSWER.validate_python(entry.value) if entry is not None else None


def remember(key: dict[str, Any], answer: Answer) -> None:
    """Keep what was found under `key`."""
    written = ANSWER.dump_python(answer, mode="json")
    if ANSWER.validate_python(json.loads(json.dumps(written))) == answer:
        cache.store(KIND, key, written)


def key_of(path: Path, overrides: Sequence[str], loaded: LoadedSpec) -> dict[str, Any] | None:
    """All that the answer depends on; None where that cannot be known, as of code of the user's and of models of the
    hub, or where nothing is kept.
    """
    models = [m for at in loaded.points for m in (at.loaded.spec.model, *at.loaded.spec.sources.values())]
    if cache.folder() is None or any(model.source in ("hub", "module") for model in models):
        return None
    try:
        files = {str(file): _state(file) for model in models for file in _files(model, loaded.base_dir)}
    except (OSError, ValueError, RuntimeError):  # it cannot be there: the checks say so in their own words
        return None
    text = hashlib.sha256(loaded.text.encode()).hexdigest()
    place = {"path": str(path), "folder": str(Path.cwd())}
    return {**place, "spec": text, "overrides": list(overrides), "files": files, **versions()}


def _files(model: Model, base_dir: Path) -> Iterator[Path]:
    """All that is read of a model's files, or may be."""
    match model.source:
        case "path":
            folder = located(base_dir, str(model.path))
            yield from (folder, *sorted(folder.iterdir()))
        case "config" if isinstance(model.config, str):
            yield located(base_dir, model.config)
        case _:
            return


def _state(file: Path) -> str | list[int]:
    """What tells whether a file has changed: its content, but of weights and other large files identity and times."""
    status = file.stat()
    if stat.S_ISREG(status.st_mode) and status.st_size <= SMALL:
        return hashlib.sha256(read_bytes(file)).hexdigest()
    return [status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]

"""What `growc check` answered before, for specs of which nothing has changed: told without importing torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from growc.diagnostics import Diagnostic
from growc.diagnostics.invariant import Invariant
from growc.files import cache
from growc.files.versions import versions
from growc.spec import LoadedSpec
from growc.spec.schema import Model

Answer = tuple[tuple[Diagnostic, ...], tuple[Invariant, ...]]
ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)
KIND = "answers"


def recall(key: dict[str, Any] | None) -> Answer | None:
    """The diagnostics and invariants that were found under `key`; None if there was no such call."""
    entry = cache.load(KIND, key) if key is not None else None
    return ANSWER.validate_python(entry.value) if entry is not None else None


def remember(key: dict[str, Any], answer: Answer) -> None:
    """Keep what was found under `key`."""
    cache.store(KIND, key, ANSWER.dump_python(answer, mode="json"))


def key_of(path: Path, overrides: Sequence[str], loaded: LoadedSpec) -> dict[str, Any] | None:
    """All that the answer depends on; None where that cannot be known: code of the user's, and models of the hub."""
    models = [m for at in loaded.points for m in (at.loaded.spec.model, *at.loaded.spec.sources.values())]
    if any(model.source in ("hub", "module") for model in models):
        return None
    files = dict(entry for model in models for entry in _files(model, loaded.base_dir))
    text = hashlib.sha256(loaded.text.encode()).hexdigest()
    place = {"path": str(path), "folder": str(Path.cwd())}
    return {**place, "spec": text, "overrides": list(overrides), "files": files, **versions()}


def _files(model: Model, base_dir: Path) -> list[tuple[str, Any]]:
    """What is read of a model's files, or may be: of a folder names, sizes and times, since weights are large."""
    match model.source:
        case "path":
            folder = base_dir / Path(str(model.path)).expanduser()
            return [(str(found), _state(found)) for found in sorted((folder, *folder.rglob("*")))]
        case "config" if isinstance(model.config, str):
            path = base_dir / Path(model.config).expanduser()
            try:
                return [(str(path), hashlib.sha256(path.read_bytes()).hexdigest())]
            except OSError as error:
                return [(str(path), error.errno)]
        case _:
            return []


def _state(path: Path) -> list[int] | int | None:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]

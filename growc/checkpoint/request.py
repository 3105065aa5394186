"""What a call of `growc grow` asks for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from growc.checkpoint.layout import Layout
from growc.diagnostics import fail
from growc.files.beside import beside
from growc.files.distributed import fingerprint
from growc.files.folder import check_folder
from growc.files.strict import read_bytes
from growc.files.versions import code_digest

SHARD_BYTES = 5 * 10**9
"""The most tensor bytes of one file, unless a single tensor has more."""


@dataclass(frozen=True)
class Request:
    """One grow stage of a spec on a checkpoint folder.

    Args:
        spec: the spec file.
        stage: name of one of its grow stages.
        source: a folder with the model that the stage grows: `config.json`, and safetensors files or a distributed
            checkpoint.
        to: a folder that does not exist.
        overrides: `--set` values.
        allow_code: whether `model.module` of the spec may run.
        shard_bytes: the most tensor bytes of one weight file.
        layout: how the grown tensors are stored.
        text_only: whether the parts beside the language model of a whole model are left behind.
    """

    spec: Path
    stage: str
    source: Path
    to: Path
    overrides: tuple[str, ...] = ()
    allow_code: bool = False
    shard_bytes: int = SHARD_BYTES
    layout: Layout = "same"
    text_only: bool = False

    @classmethod
    def read(cls, values: dict[str, Any]) -> Request:
        """A request that another process wrote by `dataclasses.asdict` as JSON."""
        return cls(
            Path(values["spec"]),
            values["stage"],
            Path(values["source"]),
            Path(values["to"]),
            tuple(values["overrides"]),
            values["allow_code"],
            values["shard_bytes"],
            values["layout"],
            values["text_only"],
        )

    def key(self) -> str:
        """A hash of all that the grown checkpoint depends on: an interrupted call resumes only what has the same.

        Raises:
            GrowcError: the spec or the source cannot be read.
        """
        check_folder(self.source)
        files = fingerprint(self.source)
        asked = [
            code_digest(),
            _digest(self.spec),
            self.stage,
            self.overrides,
            self.shard_bytes,
            self.layout,
            self.text_only,
            files,
            _small(self.source, {name for name, *_ in files}),
        ]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _small(folder: Path, weights: set[str]) -> list[tuple[str, int, int]]:
    """Name, size and time of the files beside the weights."""
    try:
        names = {path.name for path in folder.iterdir() if path.is_file() and path.name not in weights}
        stats = {name: (folder / name).stat() for name in sorted(names.union(beside(folder, weights).carried))}
        return [(name, status.st_size, status.st_mtime_ns) for name, status in stats.items()]
    except OSError as error:
        fail("GROW650", f"{error.filename or folder} cannot be read: {error.strerror}", help="see that it can be")


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError as error:
        fail("GROW001", f"cannot read {path}: {error.strerror}", help="check the path")

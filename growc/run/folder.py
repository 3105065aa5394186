"""The run folder: where everything lies, and how it gets there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run folder. A stage's folder is named after its node; arms have folders of their own."""

    path: Path

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def source(self) -> Path:
        """The source model's state, as the first stages load it."""
        return self.path / "source"

    def scratch(self, node: str) -> Path:
        """The fresh state from which node `node` starts."""
        return self.stage(node) / "scratch"

    def stage(self, node: str) -> Path:
        return self.path / "stages" / node

    def checkpoint(self, node: str) -> Path:
        """The state after the node: a Hugging Face folder plus the training state."""
        return self.stage(node) / "checkpoint"

    def stable(self, node: str) -> Path:
        """The state before the node's anneal."""
        return self.stage(node) / "stable"

    def steps(self, node: str) -> Path:
        """Folders `step-N` of a stage under way."""
        return self.stage(node) / "steps"


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    aside = path.with_name(path.name + ".partial")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def appears(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name `path` when the block ends well: the one act that commits it."""
    aside = path.with_name(path.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    commit(aside, path)


def commit(aside: Path, path: Path) -> None:
    """Sync the files of `aside` and give it the name `path`."""
    for file in aside.rglob("*"):
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

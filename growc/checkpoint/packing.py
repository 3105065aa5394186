"""`growc pack`: siblings as the lineage tells them, and bytes as `growc.files.packing` stores them."""

from __future__ import annotations

from pathlib import Path

from growc.checkpoint.lineage import told_siblings
from growc.diagnostics import Diagnostic
from growc.files.packing import pack as files
from growc.files.progress import Listener
from growc.files.workers import WORKERS


def pack(
    folder: Path, to: Path, *, workers: int = WORKERS, listener: Listener | None = None
) -> tuple[files.Sizes, tuple[Diagnostic, ...]]:
    """Pack a checkpoint folder; see `growc.files.packing.pack.pack`, and `told_siblings` for the warning."""
    groups, warnings = told_siblings(folder)
    return files.pack(folder, to, groups, workers=workers, listener=listener), warnings

"""An XFS in a file, where a machine lets one be mounted: a file system that shares blocks between files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SIZE = 24 * 10**9
"""Bytes of the file system; its file is sparse."""


def missing() -> str | None:
    """What keeps one from being made here; None if nothing does."""
    if shutil.which("mkfs.xfs") is None:
        return "mkfs.xfs is not installed"
    if os.geteuid() != 0:
        return "only root may mount"
    return None


@contextmanager
def mounted(folder: Path) -> Generator[Path]:
    """A new XFS, mounted in `folder` until the block ends."""
    image, place = folder / "growc-benchmark.xfs", folder / "growc-benchmark-xfs"
    place.mkdir()
    try:
        with image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)
    finally:
        image.unlink()
        place.rmdir()

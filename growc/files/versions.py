"""What results depend on beside their inputs: the code of growc and the libraries that compute with it."""

from __future__ import annotations

import hashlib
import platform
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("torch", "transformers", "numpy", "pydantic", "networkx", "huggingface_hub", "pyyaml")


@cache
def code_digest() -> str:
    """A hash over the contents of every Python file of the package."""
    root = Path(__file__).parent.parent
    content = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()


@cache
def versions() -> dict[str, str]:
    """The versions of all that decides what is found of a model, without importing any of it."""
    libraries = {name: version(name) for name in LIBRARIES}
    return {"growc": code_digest(), "python": sys.version, "machine": platform.machine(), **libraries}

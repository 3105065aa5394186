"""What results depend on beside their inputs: the code of growc and the libraries that compute with it."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from growc.diagnostics import fail

OLDEST, UNTRIED = (2, 11), (2, 14)
"""The first minor version of torch that growc works with, and the first that it was not tried with."""

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


def hold_torch() -> None:
    """Refuse an installed torch that is too old (GROW634), without importing it: its import may fail already."""
    installed = version("torch")
    numbers = re.match(r"(\d+)\.(\d+)", installed)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        fail("GROW634", f"torch {installed} is installed, which is too old", help=f"install {requirement()}")


def requirement() -> str:
    """The versions of torch that growc works with, as pip takes them."""
    return f"torch>={OLDEST[0]}.{OLDEST[1]},<{UNTRIED[0]}.{UNTRIED[1]}"

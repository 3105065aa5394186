"""What results depend on beside their inputs: what growc computes, and the libraries that compute with it."""

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

MEANING = {
    "anatomy": 1, "programs": 1, "nn": 1, "model": 1, "numerics": 1, "growth": 1, "checkpoint": 1, "data": 1,
    "engine": 1, "measures": 1, "run": 1,
}  # fmt: skip
"""Package -> the version of what it computes or stores.

Whoever makes the same spec give other numbers, or cannot read a run folder of before any more, raises it: plans and run
folders of another version are refused. An operator has a version of its own.
"""

SAYS_ONLY = ("audit", "checks", "cli", "diagnostics", "files", "operators", "plan", "records", "report", "spec")
"""Packages that compute no number of a run; operators have versions of their own, and specs count by their values."""

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

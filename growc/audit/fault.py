"""How a difference between a growth and its reading is told."""

from __future__ import annotations

from typing import NoReturn

from growc.diagnostics import Diagnostic, GrowcError

CODE = "GROW665"


def fault(message: str) -> Diagnostic:
    """One difference."""
    help = "this is a fault of growc, and nothing was kept: please report it with the spec and the source's config"
    return Diagnostic(CODE, message, help)


def refuse(message: str) -> NoReturn:
    """Refuse the growth for one difference (GROW665)."""
    raise GrowcError([fault(message)])

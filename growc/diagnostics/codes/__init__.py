"""Every diagnostic code with its text, which `growc explain CODE` prints; one file for each range."""

from __future__ import annotations

from growc.diagnostics.code import Code, ExitCode
from growc.diagnostics.codes import data, files, growth, invariants, language, runs, sources

CODES: dict[str, Code] = {
    **files.CODES,
    **language.CODES,
    **sources.CODES,
    **growth.CODES,
    **invariants.CODES,
    **data.CODES,
    **runs.CODES,
}

__all__ = ["CODES", "Code", "ExitCode"]

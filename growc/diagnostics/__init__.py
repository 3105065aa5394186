"""What is wrong, where, and what to do about it: the only way growc speaks of a user's mistake."""

from growc.diagnostics.codes import CODES, Code, ExitCode
from growc.diagnostics.diagnostic import Diagnostic, GrowcError, Severity, Span, fail

__all__ = ["CODES", "Code", "Diagnostic", "ExitCode", "GrowcError", "Severity", "Span", "fail"]

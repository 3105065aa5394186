"""A diagnostic, its place in the user's text, and the exception that carries it to the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn, Self

from growc.diagnostics.codes import CODES, ExitCode


class Severity(StrEnum):
    """How much a diagnostic weighs: an error fails the command, the others do not."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, order=True)
class Span:
    """A place in a text. Lines and columns count from 1; `length` is the width of the caret line."""

    file: str
    line: int
    column: int
    length: int = 1


@dataclass(frozen=True)
class Diagnostic:
    """One finding: a code of `CODES`, what is wrong, what to do, and where."""

    code: str
    message: str
    help: str = ""
    span: Span | None = None
    severity: Severity = Severity.ERROR

    def __post_init__(self) -> None:
        assert self.code in CODES, f"{self.code} is not in the table of codes"

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """A diagnostic that another process wrote by `dataclasses.asdict` as JSON."""
        span = Span(**values["span"]) if values["span"] else None
        return cls(values["code"], values["message"], values["help"], span, Severity(values["severity"]))

    def __str__(self) -> str:
        place = f"{self.span.file}:{self.span.line}:{self.span.column}: " if self.span else ""
        return f"{place}{self.code} {self.message}" + (f" ({self.help})" if self.help else "")


class GrowcError(Exception):
    """The user's mistake, or the machine's refusal, as diagnostics; the command line prints them."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        assert self.diagnostics
        super().__init__("\n".join(map(str, self.diagnostics)))

    @property
    def exit_code(self) -> ExitCode:
        """The gravest exit code among the diagnostics."""
        return max(CODES[d.code].exit for d in self.diagnostics)


def fail(code: str, message: str, *, help: str = "", span: Span | None = None) -> NoReturn:
    """Raise one diagnostic as a `GrowcError`."""
    raise GrowcError([Diagnostic(code, message, help, span)])

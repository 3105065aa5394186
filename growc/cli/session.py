"""One call of a command: what it found, the view that shows it, and the exit code it ends with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from growc.cli.options import FormatChoice
from growc.cli.views import View, view
from growc.diagnostics import CODES, Diagnostic, ExitCode, GrowcError, Severity
from growc.diagnostics.invariant import Invariant
from growc.files.versions import hold_torch

if TYPE_CHECKING:
    from growc.plan.plan import InvariantRecord, Plan


class Session:
    """A `with` block that turns diagnostics into output and an exit code; no traceback is left to a user's mistake.

    Args:
        output_format: which view.
        overrides: the `--set` values, which places in diagnostics may be in.
        interrupted: the exit code of a Ctrl-C.
    """

    def __init__(
        self,
        output_format: FormatChoice,
        overrides: tuple[str, ...],
        *,
        interrupted: ExitCode = ExitCode.CANNOT_RUN,
    ) -> None:
        self.view: View = view(output_format, overrides)
        self.interrupted = interrupted
        self.diagnostics: list[Diagnostic] = []
        self.invariants: list[tuple[str, InvariantRecord]] = []
        self.specs: list[str] = []
        self.code = ExitCode.CLEAN

    def __enter__(self) -> Self:
        try:
            hold_torch()
        except GrowcError as error:
            self.__exit__(GrowcError, error, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, GrowcError):
            self._found(error.diagnostics)
            self.view.failed(error.diagnostics)
        elif isinstance(error, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            self.code = self.interrupted
        elif error is not None:
            return
        click.get_current_context().exit(self.code)

    def _found(self, diagnostics: Iterable[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            self.diagnostics.append(diagnostic)
            if diagnostic.severity is Severity.ERROR:
                self.code = max(self.code, CODES[diagnostic.code].exit)

    def progress(self, text: str) -> None:
        """Say what is going on, to someone who watches."""
        if sys.stderr.isatty():
            click.echo(text, err=True)

    def say(self, text: str) -> None:
        """The result of a command, on stdout."""
        click.echo(text)

    def warn(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Findings beside the result, on stderr."""
        found = list(diagnostics)
        self._found(found)
        if found:
            self.view.failed(found)

    def end(self, code: ExitCode) -> None:
        """How the command ended."""
        self.code = max(self.code, code)

    def collect(self, spec: str, check: Callable[[], tuple[Sequence[Diagnostic], Sequence[Invariant]]]) -> None:
        """Add what `check` finds on one spec; other specs are checked even if this one cannot be."""
        self.specs.append(spec)
        try:
            diagnostics, invariants = check()
        except GrowcError as error:
            self._found(error.diagnostics)
        else:
            self._found(diagnostics)
            from growc.plan.plan import InvariantRecord

            self.invariants += [(spec, InvariantRecord.of(invariant)) for invariant in invariants]

    def show_findings(self) -> None:
        """Show all that was collected."""
        self.view.findings(self.specs, self.diagnostics, self.invariants)

    def show_plan(self, plan: Plan, out: Path | None) -> None:
        """Show a plan, and save it if it has no errors."""
        self._found(plan.findings())
        saved: Path | None = None
        if out is not None and self.code is ExitCode.CLEAN:
            from growc.plan.freeze import write_plan

            write_plan(plan, out)
            saved = out
        self.view.plan(plan)
        if saved is not None:
            click.echo(f"saved to {saved}", err=True)
        elif out is not None:
            click.echo(f"not saved to {out}: the plan has findings", err=True)

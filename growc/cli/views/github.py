"""Workflow commands of GitHub Actions: findings become annotations of a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from growc.cli.views import View
from growc.diagnostics import Diagnostic, Severity

if TYPE_CHECKING:
    from growc.plan.plan import InvariantRecord, Plan

COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


class Shown(View):
    """One line per finding; a plan is printed as text before them."""

    @override
    def failed(self, diagnostics: Sequence[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            click.echo(_annotation(diagnostic))

    @override
    def findings(
        self,
        specs: Sequence[str],
        diagnostics: Sequence[Diagnostic],
        invariants: Sequence[tuple[str, InvariantRecord]],
    ) -> None:
        self.failed(diagnostics)

    @override
    def plan(self, plan: Plan) -> None:
        from growc.plan.render import render

        click.echo(render(plan))
        self.failed(plan.findings())


def _annotation(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    place = {"file": span.file, "line": span.line, "col": span.column} if span else {}
    properties = {**place, "title": diagnostic.code}
    text = f"{diagnostic.message}\n{diagnostic.help}".strip()
    fields = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in properties.items())
    return f"::{COMMANDS[diagnostic.severity]} {fields}::{_escaped(text)}"


def _escaped(text: str, more: str = "") -> str:
    """The runner's own escapes: percent signs, line ends, and in properties colons and commas."""
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text

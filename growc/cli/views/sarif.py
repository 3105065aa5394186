"""SARIF 2.1.0, which code scanning services read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

from growc import __version__
from growc.cli.views import View
from growc.diagnostics import CODES, Diagnostic, Severity

if TYPE_CHECKING:
    from growc.plan.plan import InvariantRecord, Plan

LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


class Shown(View):
    """One run with a rule for every code that was found."""

    @override
    def failed(self, diagnostics: Sequence[Diagnostic]) -> None:
        click.echo(json.dumps(_log(diagnostics), indent=2))

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
        self.failed(plan.findings())


def _log(diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    rules = [
        {"id": c, "shortDescription": {"text": CODES[c].title}, "fullDescription": {"text": CODES[c].text}}
        for c in sorted({d.code for d in diagnostics})
    ]
    driver = {"name": "growc", "version": __version__, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": list(map(_result, diagnostics))}],
    }


def _result(diagnostic: Diagnostic) -> dict[str, Any]:
    text = f"{diagnostic.message} ({diagnostic.help})" if diagnostic.help else diagnostic.message
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "level": LEVELS[diagnostic.severity],
        "message": {"text": text},
    }
    if span := diagnostic.span:
        region = {"startLine": span.line, "startColumn": span.column, "endColumn": span.column + span.length}
        physical = {"artifactLocation": {"uri": span.file}, "region": region}
        result["locations"] = [{"physicalLocation": physical}]
    return result

"""One JSON object on stdout, and nothing else there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

from growc.cli.views import View
from growc.diagnostics import Diagnostic

if TYPE_CHECKING:
    from growc.plan.plan import InvariantRecord, Plan


class Shown(View):
    """`{"diagnostics": [...], "invariants": [...]}`; a plan adds `name`, `stages`, `cost` and `automatic`."""

    def _print(self, value: dict[str, Any]) -> None:
        click.echo(json.dumps(value, indent=2))

    @override
    def failed(self, diagnostics: Sequence[Diagnostic]) -> None:
        self._print({"diagnostics": list(map(record, diagnostics)), "invariants": []})

    @override
    def findings(
        self,
        specs: Sequence[str],
        diagnostics: Sequence[Diagnostic],
        invariants: Sequence[tuple[str, InvariantRecord]],
    ) -> None:
        held = [invariant.model_dump(exclude={"detail"}) for _, invariant in invariants]
        self._print({"diagnostics": list(map(record, diagnostics)), "invariants": held})

    @override
    def plan(self, plan: Plan) -> None:
        shown = {"name", "stages", "cost", "automatic", "diagnostics", "invariants"}
        values = plan.model_dump(mode="json", by_alias=True, include=shown)
        for invariant in values["invariants"]:
            del invariant["detail"]
        self._print(values)


def record(diagnostic: Diagnostic) -> dict[str, Any]:
    """A diagnostic as the contract has it."""
    span = diagnostic.span
    return {
        "code": diagnostic.code,
        "severity": str(diagnostic.severity),
        "file": span.file if span else None,
        "line": span.line if span else None,
        "column": span.column if span else None,
        "message": diagnostic.message,
        "help": diagnostic.help,
    }

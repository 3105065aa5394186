"""Text for people: findings with the line they are in, colour where the terminal has it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.text import Text
from typing_extensions import override

from growc.cli.views import View
from growc.diagnostics import Diagnostic, Severity
from growc.diagnostics.render import render
from growc.spec.overrides import FILE, text_of

if TYPE_CHECKING:
    from growc.plan.plan import InvariantRecord, Plan

STYLES = {
    r"(?m)^ *\+ .*": "green",
    r"(?m)^ *~ .*": "yellow",
    r"(?m)^ *- .*": "red",
    r"(?m)^ *= .*": "dim",
    r"(?m)^(grow|train|invariants|Plan:)": "bold",
    r"\bBROKEN\b": "bold red",
    r"\bK_eff\b": "bold cyan",
    r"\bGROW\d{3}\b": "bold red",
    r"(?m)^ +help:": "cyan",
    r"(?m)^ +\| *\^+": "red",
}
"""What is coloured; the text itself says the same without."""


class Shown(View):
    """Findings of `check` on stdout as a linter's, those of other commands on stderr."""

    @property
    def texts(self) -> dict[str, str]:
        """What diagnostics point into, besides files."""
        return {FILE: text_of(self.overrides)}

    def _print(self, text: str, file: IO[str]) -> None:
        styled = Text(text)
        for pattern, style in STYLES.items():
            styled.highlight_regex(re.compile(pattern), style)
        Console(file=file, highlight=False, soft_wrap=True).print(styled)

    @override
    def failed(self, diagnostics: Sequence[Diagnostic]) -> None:
        self._print("\n".join(render(d, self.texts) for d in diagnostics), sys.stderr)

    @override
    def findings(
        self,
        specs: Sequence[str],
        diagnostics: Sequence[Diagnostic],
        invariants: Sequence[tuple[str, InvariantRecord]],
    ) -> None:
        lines = [render(d, self.texts) for d in diagnostics]
        for spec in specs:
            if own := [invariant for of, invariant in invariants if of == spec]:
                from growc.plan.render import invariant_lines

                lines += [spec, *invariant_lines(own)]
        counts = [
            f"{count} {severity}{'s' * (count != 1)}"
            for severity in Severity
            if (count := sum(d.severity is severity for d in diagnostics))
        ]
        checked = f"{len(specs)} spec{'s' * (len(specs) != 1)} checked"
        self._print("\n".join([*lines, f"{checked}: {', '.join(counts) or 'no findings'}"]), sys.stdout)

    @override
    def plan(self, plan: Plan) -> None:
        from growc.plan.render import render as rendered

        self._print(rendered(plan), sys.stdout)
        if found := plan.findings():
            self.failed(found)

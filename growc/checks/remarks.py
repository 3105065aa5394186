"""What operators have to say of how they are used: warnings, which stop nothing."""

from __future__ import annotations

from growc.checks.findings import Context, Findings
from growc.diagnostics import Diagnostic, Severity


def check(context: Context) -> Findings:
    """The remarks of every operator, at the value that each is about."""
    return Findings(
        tuple(
            Diagnostic(
                remark.code,
                remark.message,
                remark.help,
                node.loaded.span("stages", node.position, "grow", index, *remark.where),
                Severity.WARNING,
            )
            for node in context.graph.distinct_growths()
            for index, rewrite in enumerate(node.rewrites)
            for remark in rewrite.operator.remarks(rewrite.source)
        )
    )

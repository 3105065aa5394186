"""What should be known of a model, and of how operators are used: warnings, which stop nothing."""

from __future__ import annotations

from collections.abc import Iterator

from growc.checks.findings import Context, Findings
from growc.diagnostics import Diagnostic, Severity
from growc.growth.rewrite import Rewrite
from growc.operators.claims import Problem
from growc.operators.facets import Remarks


def check(context: Context) -> Findings:
    """Experts that were not found (GROW407), and the remarks of every operator, at the value that each is about."""
    return Findings(tuple(_unseen(context))) + _of_operators(context)


def _unseen(context: Context) -> Iterator[Diagnostic]:
    models = {path.source.unseen_experts: path.source for path in context.graph.paths}
    for unseen, model in models.items():
        if unseen is not None:
            yield Diagnostic(
                "GROW407",
                f"{model.model_type} has experts that growc did not find: their number sets {unseen}",
                "its active parameters and FLOPs are not known, and no operator grows these experts",
                context.loaded.span("model"),
                Severity.WARNING,
            )


def _of_operators(context: Context) -> Findings:
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
            for remark in _remarks(rewrite)
        )
    )


def _remarks(rewrite: Rewrite) -> Iterator[Problem]:
    if isinstance(rewrite.operator, Remarks):
        yield from rewrite.operator.remarks(rewrite.source)

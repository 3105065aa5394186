"""Every tensor of a grown model has exactly one program, and what is not read of its source is left on purpose."""

from __future__ import annotations

from collections.abc import Iterator

from growc.checks.findings import Context, Findings
from growc.diagnostics import Diagnostic
from growc.growth.graph import GrowNode
from growc.growth.rewrite import Rewrite
from growc.operators.facets import Drops
from growc.programs import sources


def check(context: Context) -> Findings:
    """Errors: GROW401, at the operator."""
    return Findings(
        tuple(
            Diagnostic("GROW401", message, _HELP, node.loaded.span("stages", node.position, "grow", index))
            for node in context.graph.distinct_growths()
            for index, rewrite in enumerate(node.rewrites)
            for message in gaps(node, rewrite)
        )
    )


_HELP = "this is a fault of the operator, not of the spec; please report it"


def gaps(node: GrowNode, rewrite: Rewrite) -> Iterator[str]:
    """What the programs of one operator leave out, or read without it being there."""
    op, stage = rewrite.operator.op, node.stage
    grown, programs, source = rewrite.grown.tensors, rewrite.programs, rewrite.read
    for name in grown.keys() - programs.keys():
        yield f"{op} at {stage} says nothing about {name}"
    for name in programs.keys() - grown.keys():
        yield f"{op} at {stage} has a program for {name}, which the grown model lacks"
    read = {name: sources(program) for name, program in programs.items()}
    for name, names in read.items():
        for absent in sorted(names - source.keys()):
            yield f"{op} at {stage} makes {name} from {absent}, which its source lacks"
    operator = rewrite.operator
    dropped = operator.drops(rewrite.source) if isinstance(operator, Drops) else frozenset[str]()
    for unread in sorted(source.keys() - dropped.union(*read.values())):
        yield f"{op} at {stage} drops {unread} without saying so"

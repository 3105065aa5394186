"""Programs evaluate to the shapes that a fresh trace of the grown config has."""

from __future__ import annotations

from collections.abc import Iterator

from growc.checks.findings import Context, Findings
from growc.diagnostics import Diagnostic
from growc.growth.graph import GrowNode
from growc.growth.rewrite import Rewrite
from growc.programs import shape


def check(context: Context) -> Findings:
    """Errors: GROW402, at the operator."""
    return Findings(
        tuple(
            Diagnostic("GROW402", message, _HELP, node.loaded.span("stages", node.position, "grow", index))
            for node in context.graph.distinct_growths()
            for index, rewrite in enumerate(node.rewrites)
            for message in mismatches(node, rewrite)
        )
    )


_HELP = "this is a fault of the operator, not of the spec; please report it"


def mismatches(node: GrowNode, rewrite: Rewrite) -> Iterator[str]:
    """The tensors of one operator whose program has another shape than the traced one."""
    shapes = {name: tensor.shape for name, tensor in rewrite.read.items()}
    where = f"{rewrite.operator.op} at {node.stage}"
    for name, program in rewrite.programs.items():
        if name not in rewrite.grown.tensors:
            continue  # reported by coverage
        traced = rewrite.grown.tensors[name].shape
        try:
            planned = shape(program, shapes)
        except ValueError as error:
            yield f"{where} cannot make {name}: {error}"
        except KeyError:
            continue  # reads a tensor that does not exist: reported by coverage
        else:
            if planned != traced:
                yield f"{where} makes {name} with shape {list(planned)}, the model has {list(traced)}"

"""What must hold before a byte of a grown folder is written: all that `growc check` asks, of the folder's own model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from growc.checks import Context, run_checks
from growc.checks.coverage import gaps
from growc.checks.loss import prove_claim
from growc.checks.shapes import mismatches
from growc.diagnostics import Diagnostic, GrowcError, Severity
from growc.growth.graph import GrowNode
from growc.growth.open import Opened
from growc.growth.rewrite import Rewrite

HELP = "this is a fault of the operator, not of the spec; please report it"


@dataclass(frozen=True)
class Checked:
    """What was found, in `warnings`, and what is known of the claim, as a sentence for the card."""

    warnings: tuple[Diagnostic, ...]
    proof: str


def check_growth(opened: Opened, node: GrowNode, steps: Sequence[Rewrite]) -> Checked:
    """Check the whole spec, and prove the claim of `node` with the `steps` that will be carried out.

    The steps are those of the plan but where an earlier growth of the folder was settled by measurement.

    Raises:
        GrowcError: whatever `growc check` refuses; GROW401, GROW402 or GROW405 of the steps.
    """
    found = list(run_checks(Context(opened.loaded, opened.source, opened.graph)).diagnostics)
    span = node.loaded.span("stages", node.position, "grow")
    for step in steps:
        found += [Diagnostic("GROW401", message, HELP, span) for message in gaps(node, step)]
        found += [Diagnostic("GROW402", message, HELP, span) for message in mismatches(node, step)]
    _refuse(found)
    proved = prove_claim(replace(node, rewrites=tuple(steps)))
    found += [each for each in proved.diagnostics if each not in found]
    _refuse(found)
    return Checked(tuple(found), _sentence(proved.invariants, proved.diagnostics))


def _refuse(found: Sequence[Diagnostic]) -> None:
    errors = [each for each in found if each.severity is Severity.ERROR]
    if errors:
        raise GrowcError(errors)


def _sentence(invariants: Sequence[object], unproved: Sequence[Diagnostic]) -> str:
    if unproved:
        return "This claim is not proved: the model has no small version to prove it on."
    if invariants:
        return "This claim was proved on a small model of the same routing, in double precision."
    return ""

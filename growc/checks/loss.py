"""What growth does to the loss: the operators' claims, proved on the float64 twin, and the spec's limit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from pydantic import TypeAdapter

from growc.checks.findings import Context, Findings, loss_limit
from growc.checks.twin import Twin, loss, tokens, twin_of
from growc.diagnostics import Diagnostic, GrowcError, Severity, Span
from growc.diagnostics.invariant import Invariant, bound
from growc.growth.graph import GrowNode
from growc.model.build import REFUSALS
from growc.model.drawn import logits
from growc.model.kept import keep
from growc.nn.duplicates import as_duplicated
from growc.operators import Operator
from growc.operators.claims import Preserves
from growc.operators.facets import free_top_k_of

LOGIT_GAP = LOSS_GAP = 1e-9
"""What rounding of float64 may do to a twin's logits (of order one) and its loss in nats."""


@dataclass(frozen=True)
class Proof:
    """What growth did to the twin.

    The largest change of a logit, the change of the loss in nats, and (where the K_eff law applies) how far
    the loss lies from the one that the law predicts.
    """

    claim: Preserves
    logit_gap: float
    loss_change: float
    law_gap: float | None

    @property
    def holds(self) -> bool:
        """Whether the twin bears out what the operators claim."""
        if self.claim is Preserves.EXACTLY:
            return self.logit_gap <= LOGIT_GAP and abs(self.loss_change) <= LOSS_GAP
        return self.law_gap is None or abs(self.law_gap) <= LOSS_GAP

    def __str__(self) -> str:
        if self.claim is Preserves.EXACTLY:
            return f"exactly: on the float64 twin logits move by {_in_words(self.logit_gap)}"
        if self.law_gap is None:
            change = _in_words(self.loss_change, "+.1e")
            return f"{self.claim}: the loss of an untrained float64 twin moves by {change}"
        return f"{self.claim}: the float64 twin's loss is {_in_words(abs(self.law_gap))} from the K_eff law's"


def _in_words(gap: float, digits: str = ".1e") -> str:
    most = bound("preservation", gap)
    return f"less than {most:.0e}" if most else f"{gap:{digits}}"


PROOF = TypeAdapter(Proof)


def check(context: Context) -> Findings:
    """Prove every claim, and list the loss limit as to be measured. Errors: GROW405, GROW406 (a warning)."""
    findings, prototypes = Findings(), context.graph.prototypes()
    proved: dict[str, Findings] = {}
    for node in context.graph.grow_nodes():
        first = prototypes[node.name]
        if first is node:
            proved[node.name] = prove_claim(node)
            findings += Findings(proved[node.name].diagnostics)
        shared = (replace(invariant, stage=node.name) for invariant in proved[first.name].invariants)
        findings += Findings((), tuple(shared))
        bound = loss_limit(node)
        if bound is not None:
            detail = f"claimed to be preserved {node.preserves}"
            invariant = Invariant("loss", node.name, "to_measure", None, bound[0], detail)
            findings += Findings((), (invariant,))
    return findings


def prove_claim(node: GrowNode) -> Findings:
    """The claim of one growth, proved; a claim that nothing is kept needs no proof.

    Errors: GROW405 (it does not hold), GROW406 (a warning: it could not be proved).
    """
    span = node.loaded.span("stages", node.position, "grow")
    first = node.rewrites[0]
    rows = [[step.operator.op, step.operator.model_dump_json(), step.parents] for step in node.rewrites]
    other = first.other.config if first.parents > 1 else None
    how = {"operators": rows, "other": other, "seed": node.training.seed, "claim": node.preserves}
    try:
        proof = keep(
            "proofs", first.source.config, how, PROOF,
            lambda: prove(twin_of(node.rewrites, node.training.seed), node.preserves),
        )  # fmt: skip
    except GrowcError as error:
        return Findings((_no_twin(node, error.diagnostics[0].message, span),))
    except REFUSALS as error:  # the family's own code, on a small model or one of another type
        return Findings((_no_twin(node, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", span),))
    exact = proof.claim is Preserves.EXACTLY
    value, limit = (proof.logit_gap, LOGIT_GAP) if exact else (proof.law_gap, LOSS_GAP)
    if value is None:
        return Findings()
    status = "held" if proof.holds else "broken"
    told = bound("preservation", value, limit) or abs(value)
    invariant = Invariant("preservation", node.name, status, told, limit, str(proof))
    return Findings(() if proof.holds else (_refuted(node, proof, span),), (invariant,))


def _refuted(node: GrowNode, proof: Proof, span: Span) -> Diagnostic:
    message = (
        f"{node.name} claims to preserve the model {proof.claim}, but on the float64 twin logits move by "
        f"{_in_words(proof.logit_gap)} and the loss by {_in_words(proof.loss_change, '+.1e')}"
    )
    if proof.law_gap is not None:
        message += f", {_in_words(abs(proof.law_gap))} from what the K_eff law predicts"
    return Diagnostic("GROW405", message, "the family routes in a way that the operator does not know", span)


def _no_twin(node: GrowNode, reason: str, span: Span) -> Diagnostic:
    message = f"the model has no small twin, so {node.name} is unproved: {reason}"
    return Diagnostic("GROW406", message, "growth itself is not affected", span, Severity.WARNING)


def prove(twin: Twin, claim: Preserves) -> Proof:
    """Run both twins, and the source under the K_eff law where that applies."""
    ids = tokens(twin.source, seed=0)
    with torch.no_grad():
        before, after = logits(twin.source, ids), logits(twin.grown, ids)
        change = float(loss(after, ids) - loss(before, ids))
        law_gap: float | None = None
        if claim is Preserves.NEARLY and len(twin.steps) == 1 and obeys_law(twin.steps[0].rewrite.operator):
            law_gap = float(loss(after, ids) - loss(predicted(twin, ids), ids))
    return Proof(claim, float((after - before).abs().max()), change, law_gap)


def obeys_law(operator: Operator) -> bool:
    """Whether free top-K over copies that compute what their source does is all that an operator does."""
    law = free_top_k_of(operator)
    return law is not None and law.alone


def predicted(twin: Twin, ids: torch.Tensor) -> torch.Tensor:
    """Logits of the twin's source under the K_eff law."""
    step = twin.steps[0]
    with as_duplicated(twin.source, {site: step.replicas[site.layer] for site in step.rewrite.mixtures}):
        return logits(twin.source, ids)

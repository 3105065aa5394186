"""How each measure of the operators is carried out; a new measure is a function and a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from growc.anatomy.sites import MoeSite
from growc.diagnostics import fail
from growc.growth.decision import Decision, by_scores
from growc.measures.calibration import Calibration
from growc.measures.inputs import mean_inputs
from growc.measures.matching import unit_orders
from growc.measures.reconstruction import pruned
from growc.measures.scores import expert_scores
from growc.measures.sensitivity import unit_scores
from growc.model.inspect import head_of
from growc.operators.allocation import Greedy, Proportional, Sampling
from growc.operators.matching import ByActivations
from growc.operators.means import Domains, MeanTokens, domain, mean_token
from growc.operators.measures import Ranking
from growc.operators.scores import parts
from growc.operators.selection import ByReconstruction, ByScore
from growc.operators.sensitivity import BySensitivity


def by_ranking(rule: Ranking, given: Calibration) -> Decision:
    """Replicas by a score of every expert.

    Errors: GROW310, where the curvature score lacks Adam's second moment.
    """
    planned, state = given.planned, given.first.state
    names = {name for site in planned.mixtures for names in parts(site, rule.over) for name in names}
    if rule.score == "curvature" and not all("exp_avg_sq" in state.get(name, {}) for name in names):
        fail(
            "GROW310",
            "the curvature score needs Adam's second moment, and the source state has none for its experts",
            help="train the source with adamw in an earlier stage, or use score: gradient_squared",
        )
    scores = expert_scores(rule, given.first.model, state, planned.mixtures, given.batches, given.device, planned.seed)
    return by_scores(planned, scores)


def by_sensitivity(how: BySensitivity, given: Calibration) -> Decision:
    """The intermediate units that each expert keeps, by a score of every unit."""
    planned = given.planned
    scores = unit_scores(how, given.first.model, planned.mixtures, given.batches, given.device, planned.seed)
    return by_scores(planned, scores)


def by_reconstruction(how: ByReconstruction, given: Calibration) -> Decision:
    """The experts without which a layer's output changes least."""
    return pruned(given.planned, how, given.first.model, given.batches(how.batches), given.device)


def by_activations(how: ByActivations, given: Calibration) -> Decision:
    """The order in which units of further models take the places of the first one's."""
    models = [parent.model for parent in given.parents]
    units = unit_orders(models, given.planned.networks, given.batches(how.batches), given.device)
    return replace(by_scores(given.planned, {}), units=units)


def by_mean_tokens(how: MeanTokens, given: Calibration) -> Decision:
    """The mean of what enters every router, or the network whose place it takes."""
    planned = given.planned
    entries = {mean_token(s.layer): s.router if isinstance(s, MoeSite) else s.up[0] for s in planned.sites}
    means = mean_inputs(given.first.model, entries, given.batches(how.batches), given.device)
    return replace(by_scores(planned, {}), means=means)


def by_domains(how: Domains, given: Calibration) -> Decision:
    """The domain of every branch: the mean of what enters the seed's head on the branch's own data."""
    seed, means = given.parents[how.seed].model, dict[str, tuple[float, ...]]()
    head = head_of(seed)
    assert head is not None
    for number, branch in enumerate(given.parents):
        if number not in (0, how.seed):
            assert branch.reads is not None, "a branch that was not trained is refused when it is planned"
            means |= mean_inputs(seed, {domain(number): head}, branch.reads(how.batches), given.device)
    return replace(by_scores(given.planned, {}), means=means)


MEASURES: Mapping[type, Callable[[Any, Calibration], Decision]] = {
    Greedy: by_ranking,
    Sampling: by_ranking,
    Proportional: by_ranking,
    ByScore: by_ranking,
    BySensitivity: by_sensitivity,
    ByReconstruction: by_reconstruction,
    ByActivations: by_activations,
    MeanTokens: by_mean_tokens,
    Domains: by_domains,
}
"""The class of a measure -> what settles the operator by it, the same on every rank."""

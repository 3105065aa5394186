"""What is measured before an operator is settled: the same answer on every layout of ranks, given once and recorded."""

from __future__ import annotations

from growc.operators.allocation import Greedy, Proportional, Sampling
from growc.operators.matching import ByActivations
from growc.operators.means import Domains, Means, MeanTokens
from growc.operators.scores import WITHOUT_GRADIENTS
from growc.operators.selection import ByReconstruction, ByScore
from growc.operators.sensitivity import BySensitivity

Ranking = Greedy | Sampling | Proportional | ByScore
"""A score of every expert; `score` and `over` say which, `batches` how many batches it is averaged over."""

Measure = Ranking | ByReconstruction | BySensitivity | ByActivations | Means
"""A score of every expert, the errors of layers without some of them, a score of every unit of every expert, which
units of several models do alike, or means."""


def needs(measure: Measure) -> str | None:
    """Why it cannot follow from the weights alone, in words; None if it can."""
    match measure:
        case ByReconstruction():
            return "the reconstruction error needs the model to be run"
        case ByActivations():
            return "which units do alike shows when the models are run"
        case MeanTokens() | Domains():
            return "means over calibration text show when the model is run"
        case _ if measure.score in WITHOUT_GRADIENTS:
            return None
        case _:
            return f"the score {measure.score} needs gradients"

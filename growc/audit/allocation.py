"""How many copies each expert gets, said once more as the rules are described (arXiv 2604.19835, Section 3.3)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from growc.anatomy.sites import MoeSite
from growc.audit.record import recorded_replicas, recorded_scores
from growc.audit.scores import expert_scores
from growc.audit.step import Step
from growc.operators.allocation import Explicit, Greedy, Proportional, Sampling, Uniform
from growc.operators.expert_upcycling import ExpertUpcycling


def replicas(step: Step[ExpertUpcycling], site: MoeSite) -> list[int]:
    """How many experts of the grown layer come from each of its source's; `growth.json` must say the same."""
    rule, experts, factor = step.operator.allocation, site.num_experts, step.operator.factor
    match rule:
        case Uniform():
            wanted = [factor] * experts
        case Explicit():
            wanted = list(rule.replicas)
        case _:
            scores = recorded_scores(step, site.layer, partial(expert_scores, step, site, rule.score, rule.over))
            size = experts // site.routing_groups  # siblings stay in the routing group of their source
            wanted = [
                1 + copies
                for start in range(0, experts, size)
                for copies in _copies(rule, scores[start : start + size], (factor - 1) * size, _seed(step, site, start))
            ]
    return recorded_replicas(step, site.layer, wanted)


def _seed(step: Step[ExpertUpcycling], site: MoeSite, start: int) -> str:
    return step.seed_of(f"{site.name}/{start}")


def _copies(rule: Greedy | Sampling | Proportional, scores: Sequence[float], copies: int, seed: str) -> list[int]:
    """The extra copies of experts that have these scores, `copies` in all."""
    given = [0] * len(scores)
    match rule:
        case Greedy(cap=cap):
            # The best gets copies up to the cap, then the next; of equals the first.
            for expert in sorted(range(len(scores)), key=lambda i: -scores[i]):
                given[expert] = min(cap, copies - sum(given))
        case Proportional():
            for _ in range(copies):
                worth = [score / (1 + got) for score, got in zip(scores, given, strict=True)]
                given[worth.index(max(worth))] += 1
        case Sampling(cap=cap):
            mean = sum(scores) / len(scores)
            heat = rule.temperature * (mean if rule.unit == "mean" and mean > 0 else 1.0)
            draw = random.Random(seed)
            for _ in range(copies):
                left = [i for i, got in enumerate(given) if got < cap]
                best = max(scores[i] for i in left)
                bounds = list(accumulate(math.exp((scores[i] - best) / heat) for i in left))
                sought = draw.random() * bounds[-1]
                given[next((i for i, end in zip(left, bounds, strict=True) if sought < end), left[-1])] += 1
    return given

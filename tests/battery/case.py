"""One case of the battery: an operator with its settings, on a source that is built as its example says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from growc.anatomy.model_graph import ModelGraph
from growc.checks.twin import LENGTH, Step, Twin, grow_twin
from growc.growth.rewrite import Rewrite, other_of, refusals, rewrite
from growc.model import inspect
from growc.operators import Operator, operator
from growc.operators.ancestry import Ancestry
from growc.operators.claims import Preserves, Problem
from growc.operators.example import Example
from growc.operators.facets import Mixes
from tests.families import FAMILIES

SEED = 0


@dataclass(frozen=True, eq=False)
class Case:
    """An example of the operator `op` on one family; `axes` says which value of which axis a drawn case has."""

    op: str
    family: str
    name: str
    example: Example
    axes: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return f"{self.op}-{self.family}-{self.name}".replace(", ", "-").replace(" ", "_")

    @property
    def settings(self) -> Mapping[str, Any]:
        """The YAML beside `op`."""
        return self.example.settings

    @cached_property
    def operator(self) -> Operator:
        """The operator as a spec gives it."""
        return operator(self.op).model_validate(self.settings)

    @property
    def source(self) -> ModelGraph:
        """The model that grows: the family's, grown by what the example says."""
        return _source(self.family, json.dumps(self.example.grown_by))

    def problems(self) -> list[Problem]:
        """Why the operator cannot grow this source, or mix these states."""
        return _problems(self.operator, self.source, self.example.parents)

    def rewritten(self, seed: str = f"{SEED}/0") -> Rewrite:
        """The rewrite with nothing measured yet, under the seed of the twin."""
        return rewrite(self.operator, self.source, seed=seed, sequence_length=LENGTH, parents=self.example.parents)

    @cached_property
    def planned(self) -> Rewrite:
        """The rewrite that a plan shows."""
        return self.rewritten()

    @cached_property
    def twin(self) -> Twin:
        """The family's own tiny model in float64, before and after."""
        return grow_twin(self.source, [self.operator], SEED, self.example.parents)

    @property
    def step(self) -> Step:
        """The one step of the twin, with all that is measured bound."""
        (step,) = self.twin.steps
        return step

    @property
    def claim(self) -> Preserves:
        """What the operator should claim: the example's word, but for two kinds of routers."""
        noisy = self.settings.get("router", {}).get("bias_noise") or self.axes.get("start") == "router.bias_only"
        if noisy and self.family == "gpt_oss":  # its bias is one of the logits, and not of the selection alone
            return self.example.preserves.worst(Preserves.NEARLY)
        if self.settings.get("top_k") == "scale" and self.family == "deepseek_v3_groups":
            return Preserves.NEARLY  # groups are chosen first, by the sum of the best two
        return self.example.preserves


@cache
def _source(family: str, grown_by: str) -> ModelGraph:
    graph = inspect(FAMILIES[family], LENGTH)
    for row in json.loads(grown_by):
        parents: int = row.pop("parents", 1)
        grows = operator(row.pop("op")).model_validate(row)
        if found := _problems(grows, graph, parents):
            raise ValueError(found)
        graph = rewrite(grows, graph, seed="0", sequence_length=LENGTH, parents=parents).grown
    return graph


def _problems(grows: Operator, graph: ModelGraph, parents: int) -> list[Problem]:
    mixing = grows.mixing(parents) if isinstance(grows, Mixes) else grows
    problems = refusals(mixing, graph)
    if problems or parents == 1:
        return problems
    states: Sequence[ModelGraph] = [graph, *[other_of(grows, graph)] * (parents - 1)]
    pasts = [Ancestry(f"state {number}", f"part {number}") for number in range(parents)]
    return list(mixing.problems_together(states, pasts)) if isinstance(mixing, Mixes) else []

"""What an operator decided once something was measured: made once, recorded, and read again by a rerun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from growc.anatomy.layer_order import LAYER_ORDER, Order
from growc.anatomy.replicas import KeptUnits, Replicas
from growc.anatomy.sites import MoeSite
from growc.growth.rewrite import Rewrite
from growc.operators.facets import ReordersLayers, Slims, measure_of, replicas_of
from growc.operators.sensitivity import BySensitivity, by_expert, share_of, widths

Scores = dict[int, tuple[float, ...]]
"""Numbers by layer."""


@dataclass(frozen=True)
class Decision:
    """The replicas of every layer's experts and, where experts are slimmed, the units that they keep.

    `scores` are the numbers behind it: one for each expert where experts are ranked, the errors of the steps towards
    the survivors where layers are reconstructed, and the share of all sensitivity that each expert keeps where units
    are. `means` are what was measured on calibration text, by the names of the vectors that they are bound to.
    `layer_order` is not decided but follows from the model; it is recorded for those who do not have it.
    """

    op: str
    replicas: dict[int, Replicas]
    scores: Scores = field(default_factory=dict[int, tuple[float, ...]])
    units: dict[int, KeptUnits] = field(default_factory=dict[int, KeptUnits])
    means: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    layer_order: Order = ()

    def bound(self, planned: Rewrite) -> Rewrite:
        """The rewrite, settled."""
        return planned.bound(self.replicas, self.units, self.means)

    def record(self) -> dict[str, Any]:
        """As JSON, for journals and lineages: the operator's name, the replicas, and what else there is."""
        found: dict[str, Any] = {
            "op": self.op,
            "replicas": self.replicas,
            "scores": self.scores,
            "units": self.units,
            "means": self.means,
            LAYER_ORDER: list(self.layer_order),
        }
        return {key: values for key, values in found.items() if values or key == "replicas"}

    @staticmethod
    def read(record: Mapping[str, Any]) -> Decision:
        """What `record` wrote."""

        def by_layer(key: str) -> dict[int, tuple[Any, ...]]:
            return {int(layer): tuple(values) for layer, values in record.get(key, {}).items()}

        units = {layer: tuple(map(tuple, rows)) for layer, rows in by_layer("units").items()}
        means = {name: tuple(values) for name, values in record.get("means", {}).items()}
        order = tuple(record.get(LAYER_ORDER, ()))
        return Decision(record["op"], by_layer("replicas"), by_layer("scores"), units, means, order)


def scored(planned: Rewrite, site: MoeSite) -> int:
    """How many scores decide at one layer: one for every expert, or for every unit of every expert."""
    return sum(widths(site)) if isinstance(measure_of(planned.operator), BySensitivity) else site.num_experts


def by_scores(planned: Rewrite, scores: Mapping[int, tuple[float, ...]]) -> Decision:
    """What the operator decides by scores, of which there are `scored` for every layer; none if it measures nothing."""
    operator, sites = planned.operator, planned.sites
    if isinstance(operator, Slims) and isinstance(measure_of(operator), BySensitivity):
        mixtures = planned.mixtures
        units = {site.layer: operator.units(site, scores[site.layer]) for site in mixtures}
        shares = {site.layer: tuple(_shares(site, scores[site.layer], units[site.layer])) for site in mixtures}
        return Decision(operator.op, {site.layer: replicas_of(operator, site) for site in sites}, shares, units)
    replicas = {site.layer: replicas_of(operator, site, scores.get(site.layer), planned.seed) for site in sites}
    order = operator.layer_order(planned.source) if isinstance(operator, ReordersLayers) else ()
    return Decision(operator.op, replicas, dict(scores), layer_order=order)


def _shares(site: MoeSite, scores: tuple[float, ...], kept: KeptUnits) -> Iterator[float]:
    for row, units in zip(by_expert(site, scores), kept, strict=True):
        yield share_of(row, units)

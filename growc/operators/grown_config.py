"""The config of a model whose expert counts differ by layer or whose router knows siblings.

Where every layer ends with the same number of experts and routes by plain top-K, the result is a stock config. Else
`model_type` becomes `growc` and a section `growc` says what differs, so that a loader that does not know siblings
refuses the model instead of running it with another function:

    "growc": {"model_type": "glm4_moe", "layers": {
        "1": {"num_local_experts": 16, "router": "model.layers.1.mlp.gate", "replicas": [2, 2, ...]}}}

`replicas` holds the size of every group of siblings in order; only exclusive layers have it, and name their router.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from growc.operators.operator import Growable, Replicas

GROWN = "growc"


def grown_config(
    model: Growable, expert_field: str, replicas: Mapping[int, Replicas], *, exclusive: bool
) -> dict[str, Any]:
    """The config after the layers in `replicas` grew; groups of an already exclusive source are kept together."""
    before: dict[str, Any] = model.config.get(GROWN, {})
    groups: dict[int, list[int]] = {
        int(layer): entry["replicas"] for layer, entry in before.get("layers", {}).items() if "replicas" in entry
    }
    counts = {site.layer: site.num_experts for site in model.moe}
    for layer, grown in replicas.items():
        counts[layer] = sum(grown)
        if exclusive:
            groups[layer] = _composed(groups[layer], grown) if layer in groups else list(grown)

    config = {key: value for key, value in model.config.items() if key != GROWN}
    stock_type = before.get("model_type", model.config["model_type"])
    config["model_type"] = stock_type
    equal = len(set(counts.values())) == 1
    if equal:
        config[expert_field] = next(iter(counts.values()))
    if equal and not groups:
        return config
    routers = {site.layer: site.router for site in model.moe}
    layers = {
        str(layer): {expert_field: count}
        | ({"router": routers[layer], "replicas": groups[layer]} if layer in groups else {})
        for layer, count in counts.items()
    }
    return config | {"model_type": GROWN, GROWN: {"model_type": stock_type, "layers": layers}}


def without_siblings(config: Mapping[str, Any], expert_field: str) -> dict[str, Any]:
    """The same sizes with plain top-K routing: the model that a run from scratch would train."""
    section: dict[str, Any] | None = config.get(GROWN)
    if section is None:
        return dict(config)
    plain = {key: value for key, value in config.items() if key != GROWN} | {"model_type": section["model_type"]}
    counts = {layer: entry[expert_field] for layer, entry in section["layers"].items()}
    if set(counts.values()) == {plain[expert_field]}:
        return plain
    layers = {layer: {expert_field: count} for layer, count in counts.items()}
    return plain | {"model_type": GROWN, GROWN: {"model_type": section["model_type"], "layers": layers}}


def _composed(groups: list[int], grown: Replicas) -> list[int]:
    composed, start = list[int](), 0
    for size in groups:
        composed.append(sum(grown[start : start + size]))
        start += size
    return composed

"""The config of a model whose layers differ in size or whose router knows siblings.

Where every layer ends with the same sizes and routes by plain top-K, the result is a stock config. Else `model_type`
becomes `growc` and a section `growc` says what differs, so that a loader that does not know siblings refuses the model
instead of running it with another function:

    "growc": {"model_type": "glm4_moe", "layers": {
        "1": {"num_local_experts": 16, "router": "model.layers.1.mlp.gate", "replicas": [2, 2, ...]}}}

`replicas` holds the size of every group of siblings in order; only exclusive layers have it, and name their router. A
layer lists its number of experts, and other fields where layers differ in them. While siblings are being released,
`open` says how far (0: exclusive, 1: free), and `over` the share of the next training stage that the release takes.
`modules` names modules of the layer that are not those of the stock class: see `growc.nn.module_patches`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas

GROWN = "growc"

EXPERTS, TOP_K, WIDTH, RENORMALISED = "num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob"
"""The fields of a config that say how large mixtures of `growc.nn.mixture` are, and whether their gates sum to 1."""

ADJUGATE_WIDTH = "small_experts_intermediate_size"
"""The field that says how many intermediate units adjugate experts have, as published Grove models call it."""

ADJUGATES = "adjugates"
"""What the module of a block that holds adjugate experts is called, and the kind of change that adds it."""

DELTAS = "deltas"
"""The same of what experts differ in that share a base."""

MIXTURE = "mixture"
"""The kind of change that puts a mixture of experts in the place of a dense network."""

SHARED_EXPERT = "shared_expert"
"""What the dense network that stays in a mixture of `growc.nn.mixture` is called there."""

DOMAIN_ROUTER = "domain_router"
"""The kind of change that makes a router find experts by their domains."""

MIXTURE_OF_ROUTERS = "mixture_of_routers"
"""The kind of change that puts several routers in the place of one."""

ATTENTION_EXPERTS = "attention_experts"
"""The kind of change that puts several attentions in the place of one."""

NO_SIZES = ("replicas", "router", "open", "over", "modules")
"""Keys of a layer's entry that are no config fields."""

Sizes = Mapping[int, Mapping[str, int]]
"""Config fields by layer."""


def routes_exclusively(config: Mapping[str, Any]) -> bool:
    """Whether some layer of this model routes among siblings."""
    return bool(groups_of(config))


def sections_of(config: Mapping[str, Any]) -> list[int]:
    """The layers that a config's `growc` section speaks of."""
    return [int(layer) for layer in config.get(GROWN, {}).get("layers", {})]


def groups_of(config: Mapping[str, Any]) -> dict[int, Replicas]:
    """Sizes of the groups of siblings of every layer that routes exclusively."""
    entries = config.get(GROWN, {}).get("layers", {})
    return {int(layer): tuple(entry["replicas"]) for layer, entry in entries.items() if "replicas" in entry}


def loads(config: Mapping[str, Any]) -> str:
    """What it takes to load a model of this config, in words."""
    if config.get("model_type") != GROWN:
        return f"loads in stock transformers, as {config['model_type']}"
    entries = config[GROWN]["layers"].values()
    if any("modules" in entry for entry in entries):
        why = "have modules that it has no class for"
    elif releasing(config):
        why = "have siblings that are being released"
    elif routes_exclusively(config):
        why = "route exclusively"
    else:
        why = "differ in size"
    return f"needs `import growc` to load: its layers {why}"


def releasing(config: Mapping[str, Any]) -> bool:
    """Whether siblings of some layer are neither exclusive nor free any more."""
    return any("open" in entry for entry in config.get(GROWN, {}).get("layers", {}).values())


def release_of(config: Mapping[str, Any]) -> float | None:
    """The share of the next training stage over which siblings are released; None if they are not, or already."""
    entries = config.get(GROWN, {}).get("layers", {}).values()
    return next((entry["over"] for entry in entries if entry.get("open", 1.0) < 1), None)


def half_open(config: Mapping[str, Any], over: float) -> dict[str, Any]:
    """The config with the siblings of all exclusive layers about to be released `over` a share of the next stage."""
    return _with_entries(config, {"open": 0.0, "over": over})


def opened_to(config: Mapping[str, Any], how_far: float) -> dict[str, Any]:
    """The config with the siblings of all exclusive layers released as far as `how_far`, from 0 to 1."""
    return _with_entries(config, {"open": how_far})


def _with_entries(config: Mapping[str, Any], more: Mapping[str, float]) -> dict[str, Any]:
    section: dict[str, Any] = config[GROWN]
    layers = {layer: entry | (more if "replicas" in entry else {}) for layer, entry in section["layers"].items()}
    return {**config, GROWN: section | {"layers": layers}}


def with_modules(config: Mapping[str, Any], modules: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The config with these modules changed: by layer and path, as `growc.nn.module_patches` describes them."""
    section: dict[str, Any] = config.get(GROWN) or {"model_type": config["model_type"], "layers": {}}
    layers = {key: dict(entry) for key, entry in section["layers"].items()}
    for layer, changed in modules.items():
        entry = layers.setdefault(str(layer), {})
        entry["modules"] = {**entry.get("modules", {}), **changed}
    ordered = {key: layers[key] for key in sorted(layers, key=int)}
    return {**config, "model_type": GROWN, GROWN: {**section, "layers": ordered}}


def modules_of(config: Mapping[str, Any], layer: int) -> Mapping[str, Mapping[str, Any]]:
    """The changed modules of one layer, by their paths inside of it."""
    return config.get(GROWN, {}).get("layers", {}).get(str(layer), {}).get("modules", {})


def inside_layer(path: str, layer: int) -> str:
    """The path of a module inside of its decoder layer."""
    return path.partition(f".{layer}.")[2]


def kinds_of(config: Mapping[str, Any]) -> frozenset[str]:
    """The kinds of changed modules that some layer has."""
    layers: Mapping[str, Any] = config.get(GROWN, {}).get("layers", {})
    return frozenset(change["kind"] for entry in layers.values() for change in entry.get("modules", {}).values())


def shares_weights(config: Mapping[str, Any]) -> bool:
    """Whether experts share adjugates or the base of deltas, so that none of them stands for itself."""
    return bool(kinds_of(config) & {ADJUGATES, DELTAS})


def sizes_of(entry: Mapping[str, Any]) -> dict[str, int]:
    """The config fields of a layer's entry."""
    return {key: value for key, value in entry.items() if key not in NO_SIZES}


def fault_of(config: Mapping[str, Any]) -> str | None:
    """What is wrong with the shape of a config's `growc` section, if it has one: it may be written by hand."""
    if config.get("model_type") != GROWN:
        return f"`{GROWN}` belongs to a config with `model_type: {GROWN}`" if GROWN in config else None
    section: Any = config.get(GROWN)
    if not isinstance(section, dict) or not isinstance(cast(Any, section).get("model_type"), str):
        return f"`{GROWN}` must say the `model_type` that was grown"
    layers: Any = cast(Any, section).get("layers")
    if not isinstance(layers, dict) or not all(_is_layer(k, v) for k, v in cast(dict[Any, Any], layers).items()):
        return f"`{GROWN}.layers` must map layer numbers to sizes, with `replicas` and `router` together or not at all"
    return None


def _is_layer(index: Any, entry: Any) -> bool:
    if not re.fullmatch("0|[1-9][0-9]{0,8}", str(index)) or not isinstance(entry, dict):
        return False
    values = cast(dict[str, Any], entry)
    if not _are_modules(values.get("modules", {})):
        return False
    if "replicas" not in values and "router" not in values:
        return True
    replicas: Any = values.get("replicas")
    whole = isinstance(replicas, list) and all(type(r) is int and r >= 1 for r in cast(list[Any], replicas))
    shares = all(
        isinstance(values.get(key, 0), int | float) and 0 <= values.get(key, 0) <= 1 for key in ("open", "over")
    )
    return whole and shares and isinstance(values.get("router"), str)


def _are_modules(modules: Any) -> bool:
    return isinstance(modules, dict) and all(
        isinstance(path, str) and isinstance(change, dict) and isinstance(cast(dict[str, Any], change).get("kind"), str)
        for path, change in cast(dict[Any, Any], modules).items()
    )


def grown_config(
    model: ModelGraph,
    expert_field: str,
    replicas: Mapping[int, Replicas],
    *,
    exclusive: bool,
    sizes: Sizes | None = None,
) -> dict[str, Any]:
    """The config after the layers in `replicas` grew; groups of an already exclusive source are kept together.

    `sizes` are further fields that changed.
    """
    groups: dict[int, Sequence[int]] = dict(groups_of(model.config))
    counts = {layer: {expert_field: sum(grown), **(sizes or {}).get(layer, {})} for layer, grown in replicas.items()}
    if exclusive:
        groups |= {layer: _composed(groups.get(layer), grown) for layer, grown in replicas.items()}
    return config_with(model, expert_field, counts, groups)


def config_with(
    model: ModelGraph, expert_field: str, changed: Sizes, groups: Mapping[int, Sequence[int]]
) -> dict[str, Any]:
    """The config after some fields of some layers changed, with exactly these groups of siblings.

    Args:
        model: before.
        expert_field: the key that sets the number of experts.
        changed: fields that changed, by layer.
        groups: sizes of the groups of siblings in slot order, of every layer that routes exclusively.
    """
    before: dict[str, Any] = model.config.get(GROWN, {})
    config = {key: value for key, value in model.config.items() if key != GROWN}
    stock_type = before.get("model_type", model.config["model_type"])
    config["model_type"] = stock_type
    layers: dict[int, dict[str, int]] = {
        site.layer: {expert_field: site.num_experts}
        | sizes_of(before.get("layers", {}).get(str(site.layer), {}))
        | dict(changed.get(site.layer, {}))
        for site in model.moe
    }
    for field in dict.fromkeys(field for sizes in layers.values() for field in sizes):
        values = {sizes.get(field, config[field]) for sizes in layers.values()}
        if len(values) == 1:
            config[field] = values.pop()
            layers = {layer: {k: v for k, v in sizes.items() if k != field} for layer, sizes in layers.items()}
        else:
            layers = {layer: {field: config[field], **sizes} for layer, sizes in layers.items()}
    modules = {int(i): e["modules"] for i, e in before.get("layers", {}).items() if "modules" in e}
    if not groups and not any(layers.values()):
        return with_modules(config, modules) if modules else config
    counts = {site.layer: {expert_field: config[expert_field]} for site in model.moe}
    routers = {site.layer: site.rule for site in model.moe}
    entries = {
        str(layer): counts[layer]
        | sizes
        | ({"router": routers[layer], "replicas": list(groups[layer])} if layer in groups else {})
        for layer, sizes in layers.items()
    }
    grown = config | {"model_type": GROWN, GROWN: {"model_type": stock_type, "layers": entries}}
    return with_modules(grown, modules)


def without_siblings(config: Mapping[str, Any], expert_field: str) -> dict[str, Any]:
    """The same sizes with plain top-K routing: the model that a run from scratch would train."""
    section: dict[str, Any] | None = config.get(GROWN)
    if section is None:
        return dict(config)
    plain = {key: value for key, value in config.items() if key != GROWN} | {"model_type": section["model_type"]}
    modules = {layer: {"modules": e["modules"]} if "modules" in e else {} for layer, e in section["layers"].items()}
    layers = {layer: sizes_of(entry) | modules[layer] for layer, entry in section["layers"].items()}
    if all(sizes == {expert_field: plain[expert_field]} for sizes in layers.values()):
        return plain
    return plain | {"model_type": GROWN, GROWN: {"model_type": section["model_type"], "layers": layers}}


def _composed(groups: Sequence[int] | None, grown: Replicas) -> list[int]:
    """The groups after the experts of an exclusive layer were replicated; siblings of siblings are siblings."""
    if groups is None:
        return list(grown)
    composed, start = list[int](), 0
    for size in groups:
        composed.append(sum(grown[start : start + size]))
        start += size
    return composed

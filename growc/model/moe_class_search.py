"""Which class can hold mixtures of experts in the place of dense feed-forward networks: found, not listed.

A candidate is every causal language model of transformers whose config knows experts. It gets all that it shares with
the dense config, and is taken if it has the dense model's tensors everywhere else and, with copies of the dense
networks for experts, computes the dense model's logits: first with one layer, which is quick, then with layers of every
kind, on more tokens than a window holds. Where there is none, or none in which just these layers have experts,
`growc.nn.mixture` holds them.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import permutations
from logging import CRITICAL
from typing import Any

from pydantic import TypeAdapter
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from growc.anatomy.grown_format import EXPERTS, GROWN, MIXTURE, RENORMALISED, TOP_K, WIDTH, with_modules
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import FfnSite, Gates, MoeRequest, ResolvedMoe
from growc.diagnostics import GrowcError
from growc.model.build import REFUSALS, build_meta, load_config
from growc.model.equivalence import computes_the_same
from growc.model.inspect import inspect
from growc.model.kept import keep
from growc.model.layers import layers_shown
from growc.model.reach import within_reach
from growc.model.shrink import shrink

LENGTH = 64
"""Positions at which candidates are traced; nothing that is asked of them depends on it."""


@dataclass(frozen=True)
class MoeClass:
    """A class that can hold mixtures; `order` has the places of the dense network's maps in an expert's tensor.

    `fields` name its number of experts, its top-K and the width of experts, and `switches` are what else it needs.
    """

    model_type: str
    fields: tuple[str, str, str]
    switches: tuple[tuple[str, bool], ...]
    order: tuple[int, ...]

    @property
    def stock(self) -> bool:
        """Whether transformers knows it."""
        return self.model_type != GROWN

    def configs(self, dense: ModelGraph, mixture: MoeRequest) -> Iterator[dict[str, Any]]:
        """Configs that may give just these layers of `dense` these mixtures."""
        sizes = dict(zip(self.fields, (mixture.experts, mixture.top_k, mixture.width), strict=True))
        config = {**dense.config, **sizes, **dict(self.switches)}
        if self.stock:
            for layers in _patterns(self.model_type, mixture.layers, dense.layers):
                yield {**config, "model_type": self.model_type, **layers}
        else:
            yield with_modules(config, {s.layer: self._module(s, dense) for s in dense_networks(dense, mixture.layers)})

    def _module(self, site: FfnSite, dense: ModelGraph) -> dict[str, dict[str, Any]]:
        inside = site.block.removeprefix(f"{dense.blocks.path}.{site.layer}.")
        up = [site.up[place].removeprefix(f"{site.block}.") for place in self.order]
        return {inside: {"kind": MIXTURE, "up": up, "down": site.down.removeprefix(f"{site.block}.")}}


MOE_CLASS: TypeAdapter[MoeClass | None] = TypeAdapter(MoeClass | None)


def dense_networks(graph: ModelGraph, layers: tuple[int, ...] | None = None) -> tuple[FfnSite, ...]:
    """The feed-forward networks of the layers without experts, or of those of `layers` among them."""
    mixed = {site.layer for site in graph.moe}
    return tuple(s for s in graph.ffn if s.layer not in mixed and (layers is None or s.layer in layers))


def resolve_moe(graph: ModelGraph, request: MoeRequest | None) -> ResolvedMoe | None:
    """The model of `graph` with the mixtures of `request` in the place of dense networks.

    None if no class holds them, or none are asked for.
    """
    if request is None:
        return None
    small = _small(json.dumps(graph.config, sort_keys=True))
    key = json.dumps(small.config, sort_keys=True) if small else ""
    for search in () if small is None else (_stock, _own) if request.stock else (_own,):
        with _silent():  # transformers logs an error for every candidate that does not fit
            moe_class = search(key, request.gates)
        for config in moe_class.configs(graph, request) if moe_class else ():
            grown = _inspected(config)
            if (
                moe_class
                and grown
                and tuple(s.layer for s in grown.moe if s.layer in request.layers) == request.layers
                and _alike(graph, grown, request.layers)
            ):
                return ResolvedMoe(grown.config, moe_class.order, {s.layer: s.router for s in grown.moe})
    return None


def _alike(dense: ModelGraph, held: ModelGraph, layers: tuple[int, ...]) -> bool:
    """Whether a class tells no layers apart that are alike in the dense model, but for those that have experts.

    A family may have windows, or positions, in some layers by a rule of its own.
    """
    kinds: dict[tuple[str, bool], str] = {}
    pairs = zip(dense.blocks.letters, held.blocks.letters, strict=True)
    return all(kinds.setdefault((kind, i in layers), found) == found for i, (kind, found) in enumerate(pairs))


@contextmanager
def _silent() -> Generator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity(CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@lru_cache(maxsize=64)
def _stock(key: str, gates: Gates) -> MoeClass | None:
    """The first class of transformers that computes what the small dense model of the config `key` does."""
    return keep(
        "classes", json.loads(key), {"gates": gates, "stock": True}, MOE_CLASS, lambda: _found_stock(key, gates)
    )


def _found_stock(key: str, gates: Gates) -> MoeClass | None:
    small = inspect(json.loads(key), LENGTH)
    first = _first(small)
    types = _candidates(first.config) if first and GROWN not in first.config else ()
    classes = (each for name in types if first for each in _tried(name, first, gates))
    alike = first is not None and first.layers == small.layers
    return next((each for each in classes if alike or _computes(each, small, gates)), None)


@lru_cache(maxsize=64)
def _own(key: str, gates: Gates) -> MoeClass | None:
    """A module of growc's in the small dense model of the config `key`."""
    switches = {"gates": gates, "stock": False}
    return keep("classes", json.loads(key), switches, MOE_CLASS, lambda: _found_own(key, gates))


def _found_own(key: str, gates: Gates) -> MoeClass | None:
    small, switches = inspect(json.loads(key), LENGTH), ((RENORMALISED, gates == "renormalised"),)
    if len({len(site.up) for site in small.ffn}) != 1:
        return None
    orders = permutations(range(len(small.ffn[0].up)))
    classes = (MoeClass(GROWN, (EXPERTS, TOP_K, WIDTH), switches, order) for order in orders)
    return next((each for each in classes if _computes(each, small, gates)), None)


@lru_cache(maxsize=64)
def _small(key: str) -> ModelGraph | None:
    """A small version of the dense model of a config, with layers of every kind: the same for all of a family, so that
    classes are searched once.
    """
    dense = inspect(json.loads(key), LENGTH)
    if dense.layers_field is None or not dense_networks(dense):
        return None
    small = _inspected(shrink(dense, layers_shown(dense.blocks.letters)))
    return _inspected(within_reach(small)) if small else None


def _first(small: ModelGraph) -> ModelGraph | None:
    """The model up to its first dense network; None if that cannot be cut off."""
    cut = _inspected(shrink(small, dense_networks(small)[0].layer + 1))
    return cut if cut and len(dense_networks(cut)) == 1 else None


def _candidates(dense: Mapping[str, Any]) -> Iterator[str]:
    """Types of models whose config knows experts: those of the dense model's name first, then the most alike."""
    name: str = dense["model_type"]
    alike = sorted(n for n in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if n.startswith(f"{name}_") and _fields(n))
    yield from alike
    others = {
        n: fields for n in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if n not in (name, *alike) and (fields := _fields(n))
    }
    yield from sorted(others, key=lambda n: (len(others[n] ^ dense.keys()), n))


@cache
def _fields(model_type: str) -> frozenset[str]:
    """The fields of a config class that knows experts; none of another."""
    config = CONFIG_MAPPING[model_type]
    fields = frozenset(getattr(config, "__dataclass_fields__", {})) | config.attribute_map.keys()
    return fields if any("expert" in field for field in fields) and not config.sub_configs else frozenset()


def _switches(model_type: str, dense: ModelGraph) -> Iterator[tuple[tuple[str, bool], ...]]:
    """The settings with which a class has the dense model's tensors outside of the network, before it is traced: its
    defaults, and each with one switch turned that the dense config does not know.
    """
    sizes = {dense.layers_field, *(axis.field for axis in dense.axes)}
    if not sizes <= _fields(model_type) | {"head_dim"}:  # which some classes read without declaring it
        return
    (network,) = dense_networks(dense)
    for layers in _patterns(model_type, (network.layer,), dense.layers):
        shared = {**dense.config, "model_type": model_type, **layers}
        try:
            values = load_config(shared).to_dict()
        except (GrowcError, *REFUSALS):
            continue
        turned = [(name, not v) for name, v in values.items() if isinstance(v, bool) and name not in dense.config]
        yield from (each for each in ((), *((turn,) for turn in turned)) if _alike_outside(shared, each, dense))


def _alike_outside(shared: Mapping[str, Any], switches: tuple[tuple[str, bool], ...], dense: ModelGraph) -> bool:
    """Whether a class has all tensors that the dense model has outside of its network, and no others beside them."""
    (network,) = dense_networks(dense)
    try:
        model = build_meta(load_config({**shared, **dict(switches)}))
    except (GrowcError, *REFUSALS):
        return False
    found = {(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()}
    wanted = {(name, tensor.shape) for name, tensor in dense.tensors.items() if not name.startswith(network.block)}
    layer = f"{dense.blocks.path}.{network.layer}."

    def beside(name: str) -> str:
        """The layer's part that a tensor is in; the tensor itself where it is in none."""
        return name.removeprefix(layer).partition(".")[0] if name.startswith(layer) else name

    held = {beside(name) for name, _ in wanted}
    return wanted <= found and not any(beside(name) in held for name, _ in found - wanted)


def _tried(model_type: str, dense: ModelGraph, gates: Gates) -> Iterator[MoeClass]:
    """The ways in which `model_type` holds mixtures in the place of the one network of `dense`."""
    flips = list(dict.fromkeys(_switches(model_type, dense)))
    if not flips:
        return
    shared = {**dense.config, "model_type": model_type, **dict(flips[0])}
    (network,) = dense_networks(dense)
    shapes = (shared | layers for layers in _patterns(model_type, (network.layer,), dense.layers))
    held = next((found for config in shapes if (found := _inspected(config)) and found.moe), None)
    if held is None or held.expert_field is None or held.top_k_field is None or not held.moe[0].units:
        return
    moved = {(unit.tensor, unit.dim + 1) for unit in held.moe[0].units}
    widths = sorted({axis.field for axis in held.axes for d in axis.dims if (d.tensor, d.dim) in moved})
    for width in widths:
        for flip in flips:
            for order in permutations(range(len(network.up))):
                moe_class = MoeClass(model_type, (held.expert_field, held.top_k_field, width), flip, order)
                if _computes(moe_class, dense, gates):
                    yield moe_class


def _computes(moe_class: MoeClass, dense: ModelGraph, gates: Gates) -> bool:
    """Whether copies of the dense network compute its logits: all of them with either kind of gates, some with one."""
    networks = dense_networks(dense)
    layers = tuple(network.layer for network in networks)

    def same(experts: int, top_k: int) -> bool:
        configs = moe_class.configs(dense, MoeRequest(layers, experts, top_k, networks[0].width, gates))
        held = next((found for config in configs if (found := _inspected(config)) and found.moe), None)
        return (
            held is not None
            and computes_the_same(dense, networks, held, moe_class.order)
            and within_reach(held) == held.config  # else it has a window that the dense model does not know
        )

    return same(2, 2) and same(4, 2) == (gates == "renormalised")


def _inspected(config: Mapping[str, Any]) -> ModelGraph | None:
    try:
        return inspect(config, LENGTH)
    except (GrowcError, *REFUSALS):
        return None


def _patterns(model_type: str, layers: tuple[int, ...], depth: int) -> Iterator[dict[str, Any]]:
    """What a config may say for just these layers to have experts, by the conventions that there are."""
    known, dense = _fields(model_type), [layer for layer in range(depth) if layer not in layers]
    told: dict[str, Any] = {
        "mlp_layer_types": ["sparse" if layer in layers else "dense" for layer in range(depth)],
        "mlp_only_layers": dense,
        "moe_layers": list(layers),
        "first_k_dense_replace": len(dense),
    }
    conventions = ({key: value} for key, value in told.items() if key in known)
    yield from conventions if dense else ({}, *conventions)

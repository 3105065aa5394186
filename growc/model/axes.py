"""What must grow together, from the sensitivity of tensor shapes to config fields.

Each whole-number field is changed a little, the model is rebuilt on the meta device, and the dimensions that
move are read off: exact, with coefficients, and it says which key to write. A reduction to the first layers
that show every kind of block keeps this fast; what moves in one block moves in all of its kind.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from growc.anatomy.grown_format import GROWN
from growc.anatomy.model_graph import Axis, AxisDim, Blocks
from growc.anatomy.sites import MoeSite
from growc.diagnostics import GrowcError
from growc.model.build import REFUSALS, build_meta
from growc.model.layers import blocks as find_blocks
from growc.model.layers import layer_of
from growc.model.trace import trace

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Depth:
    """How a config states depth: the key of the number of layers, and those with one value per layer."""

    field: str | None
    lists: tuple[str, ...]


def depth_of(config: PreTrainedConfig, layers: int) -> Depth:
    """Find the depth's keys; `field` is None where no top-level key gives the number of layers."""
    field = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    fields = config.to_dict()
    if fields.get(field) != layers:
        return Depth(None, ())
    return Depth(field, tuple(k for k, v in fields.items() if isinstance(v, list) and len(v) == layers))


def find(config: PreTrainedConfig, model: PreTrainedModel, blocks: Blocks, depth: Depth) -> tuple[Axis, ...]:
    """The axes of a model, with the tensor names of the whole.

    Args:
        config: of the whole model, or its `reduction`.
        model: the meta model of `config`.
        blocks: of the whole model.
        depth: of the whole model.
    """
    base = _shapes(model)
    spread = _Spread(blocks, base)
    axes = (_axis(config, base, field, size, spread) for field, size in _fields(config) if field != depth.field)
    return tuple(axis for axis in axes if axis)


def pinned(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config with an explicit `head_dim`, where the model reads one but none is given.

    Derived from `hidden_size`, it would tie the width of heads to that of the residual stream. Some models
    read it without being able to run with another (norms sized by `hidden_size` over all heads): those keep
    it implicit.
    """
    fields, names = config.to_dict(), config.attribute_map
    width, heads = (fields.get(names.get(name, name)) for name in ("hidden_size", "num_attention_heads"))
    if fields.get("head_dim") or not width or not heads or width % heads:
        return config
    shallow = {names.get("num_hidden_layers", "num_hidden_layers"): 1}
    implicit, explicit = (_try_shapes(config, {**shallow, **head}) for head in ({}, {"head_dim": width // heads}))
    if implicit is None or implicit != explicit:
        return config
    wider = {**shallow, "head_dim": 2 * width // heads}
    return with_fields(config, {"head_dim": width // heads}) if _fits(config, wider, implicit) else config


def _fits(config: PreTrainedConfig, fields: Mapping[str, Any], before: Shapes) -> bool:
    """Whether these fields move shapes, and the forward pass still runs."""
    try:
        changed = build_meta(with_fields(config, fields))
        trace(changed, 1)
    except (GrowcError, *REFUSALS):
        return False
    return _shapes(changed) != before


def expert_field(axes: Iterable[Axis], moe: Iterable[MoeSite]) -> str | None:
    """The one field that moves every expert tensor's first dimension one for one."""
    stacks = {name for site in moe for name in site.expert_tensors}
    ones = {axis.field: {d.tensor for d in axis.dims if d.dim == 0 and d.factor == 1} for axis in axes}
    found = [field for field, moved in ones.items() if stacks and stacks <= moved]
    return found[0] if len(found) == 1 else None


class _Spread:
    """From tensor names of the reduced model to all tensors of the whole model they stand for."""

    def __init__(self, blocks: Blocks, reduced: Shapes) -> None:
        self.path = blocks.path
        self.alike: dict[str, list[int]] = defaultdict(list)
        for layer, letter in enumerate(blocks.letters):
            self.alike[letter].append(layer)
        kept = {layer for name in reduced if (layer := layer_of(self.path, name)) is not None}
        self.first = {layers[0]: layers for layers in self.alike.values() if layers[0] in kept}

    def __call__(self, name: str) -> Iterator[str]:
        layer = layer_of(self.path, name)
        if layer is None:
            yield name
            return
        inner = name.removeprefix(f"{self.path}.{layer}.")
        for like in self.first.get(layer, ()):  # later blocks of a kind add nothing to the first
            yield f"{self.path}.{like}.{inner}"


def _axis(config: PreTrainedConfig, base: Shapes, field: str, size: int, spread: _Spread) -> Axis | None:
    for changed in (
        2 * size,
        size + 1,
        size + 2,
        3 * size,
    ):  # the first size that validators and builders accept
        moved = _try_shapes(config, {field: changed})
        if moved is None:
            continue
        dims = tuple(
            AxisDim(whole, dim, (after - before) / (changed - size))
            for name, shape in base.items()
            for dim, (before, after) in enumerate(zip(shape, moved.get(name, shape), strict=True))
            if before != after
            for whole in spread(name)
        )
        structural = moved.keys() != base.keys()
        return Axis(field, size, dims, structural) if dims or structural else None
    return None


def _fields(config: PreTrainedConfig) -> Iterator[tuple[str, int]]:
    for field, size in config.to_dict().items():
        if type(size) is int and size > 0 and not field.endswith("token_id"):
            yield field, size


def reduction(config: PreTrainedConfig, model: PreTrainedModel, blocks: Blocks, depth: Depth) -> PreTrainedConfig:
    """The config of the shortest model with the same first layers that shows every kind of block.

    `config` itself if there is none; `model`, `blocks` and `depth` are its own.
    """
    layers = len(blocks.letters)
    shown = next((n for n in range(1, layers) if set(blocks.letters[:n]) == set(blocks.letters)), layers)
    if depth.field is None or shown == layers:
        return config
    lists = {name: getattr(config, name)[:shown] for name in depth.lists}
    small = with_fields(config, {depth.field: shown, **lists})
    try:
        shallow = build_meta(small)
    except (GrowcError, *REFUSALS):
        return config
    same = _shapes(shallow).items() <= _shapes(model).items()
    return small if same and find_blocks(shallow).letters == blocks.letters[:shown] else config


def with_fields(config: PreTrainedConfig, fields: Mapping[str, Any]) -> PreTrainedConfig:
    """A copy of the config with these fields; the layers that a grown model lists follow."""
    changed = copy.deepcopy(config)
    for field, item in fields.items():
        setattr(changed, field, item)
    if section := getattr(changed, GROWN, None):
        section["layers"] = _followed(section["layers"], config, changed.num_hidden_layers, fields)
    return changed


def _followed(
    layers: Mapping[str, dict[str, Any]], before: PreTrainedConfig, depth: int, fields: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The sizes that layers of a grown model have of their own, moved by as much as the config's."""
    return {
        index: entry | {f: entry[f] + size - getattr(before, f) for f, size in fields.items() if f in entry}
        for index, entry in layers.items()
        if int(index) < depth
    }


def _try_shapes(config: PreTrainedConfig, fields: Mapping[str, Any]) -> Shapes | None:
    """The shapes after a change of fields; None if the model cannot have those values."""
    try:
        return _shapes(build_meta(with_fields(config, fields)))
    except (GrowcError, *REFUSALS):
        return None


def _shapes(model: PreTrainedModel) -> Shapes:
    """Shapes of all state, tied parameters under each of their names."""
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    persistent = model.state_dict().keys()
    return {name: tuple(tensor.shape) for name, tensor in named if name in persistent}

"""Which features every dimension of a model's tensors holds, found on its trace and by what moves with its width.

Attention, feed-forward networks and experts say where heads and units are. Of what is left, a dimension belongs to the
residual stream if it moves with the width of the embeddings; whether it makes the stream, reads it or scales it is told
by the module that it is in: a table, a linear map or a norm. Dimensions of other modules stay unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from pydantic import TypeAdapter
from torch import Tensor, fx, nn
from transformers.pytorch_utils import Conv1D

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import AttentionSite, Heads, MoeSite
from growc.anatomy.widths import HEADS, KV_HEADS, STREAM, Dims, Role, Segment, Widths
from growc.model.build import load_config
from growc.model.kept import keep
from growc.model.layers import in_layer, layer_of
from growc.model.norms import Norm, norm_of
from growc.model.sites import Finder, is_attention
from growc.model.trace import value
from growc.model.traced import Traced, trace_kinds

WIDTHS = TypeAdapter(Widths)

Features = tuple[Segment, ...]


def find_widths(model: ModelGraph) -> Widths:
    """The features of all tensors of `model`, as far as they are known."""
    return keep(
        "widths", model.config, {}, WIDTHS, lambda: _Widths(model, trace_kinds(load_config(model.config))).all()
    )


@dataclass
class _Over:
    """What norms go over: the stream, with its mean subtracted or not, and other axes."""

    centred: bool
    raised: list[str]
    normed: list[str]


class _Widths:
    def __init__(self, model: ModelGraph, traced: Traced) -> None:
        self.model, self.blocks = model, traced.blocks
        self.finder = Finder(traced.graph, traced.model, traced.blocks.path)
        table = traced.whole.get_input_embeddings()
        names = (name for name, module in traced.whole.named_modules() if module is table)
        self.embedding = f"{next(names, '')}.weight"
        self.stream = self._stream()
        self.makes, self.reads = self._inner()
        self.over = _Over(False, [], [])
        head = traced.whole.get_output_embeddings()
        self.tied = head is not None and getattr(head, "weight", None) is getattr(table, "weight", head)
        shown = {layer for node in self.finder.order if (layer := self.finder.layer(node)) is not None}
        self.alike = {
            first: [layer for layer, letter in enumerate(self.blocks.letters) if letter == self.blocks.letters[first]]
            for first in shown
            if self.blocks.letters.index(self.blocks.letters[first]) == first
        }

    def all(self) -> Widths:
        found: dict[str, Dims] = {}
        last = self._last_norm()
        for node in self.finder.order:
            for name, dims in self._of_node(node, tied=node is last):
                found |= self._spread(name, dims)
        return Widths(
            found, self.over.centred, tuple(self.over.raised), tuple(dict.fromkeys(self.over.normed)), self.tied
        )

    def _stream(self) -> set[tuple[str, int]]:
        """The dimensions that are as long as the stream is wide, wherever the config says so."""
        moved = (axis.dims for axis in self.model.axes if not axis.structural)
        dims = next((dims for dims in moved if any((d.tensor, d.dim) == (self.embedding, 1) for d in dims)), ())
        return {(d.tensor, d.dim) for d in dims if d.factor == 1}

    def _inner(self) -> tuple[dict[str, Features], dict[str, Features]]:
        """What the linear maps of attentions and networks make, and what they read, if it is not the stream."""
        makes, reads = dict[str, Features](), dict[str, Features]()
        for site in self.model.attention:
            makes |= _projected(site)
            if site.output:
                segment = Segment(HEADS, Role.READ, site.heads, inner=site.v_width, groups=site.kv_heads)
                reads[site.output] = (segment,)
        for network in self.model.ffn:
            makes |= dict.fromkeys(network.up, (Segment(network.name, Role.WRITE, network.width),))
            reads[network.down] = (Segment(network.name, Role.READ, network.width),)
        return makes, reads

    def _last_norm(self) -> fx.Node | None:
        """The norm behind all layers that the head reads, where the head is the table of embeddings."""
        nodes = list(self.finder.order)
        inside = max((place for place, node in enumerate(nodes) if self.finder.layer(node) is not None), default=0)
        norms = [node for node in nodes[inside:] if self.finder.layer(node) is None and self._norm(node)]
        return norms[-1] if norms and self.tied else None

    def _norm(self, node: fx.Node) -> Norm | None:
        module = self.finder.modules.get(node)
        if module is None or (made := _shape(node)) is None or _shape(node.all_input_nodes[0]) != made:
            return None
        return norm_of(module, self.finder.parameters[node], made[-1])

    def _of_node(self, node: fx.Node, *, tied: bool) -> Iterator[tuple[str, Dims]]:
        """The dimensions of the tensors of one node."""
        module, name = self.finder.modules.get(node), str(node.target)
        mixture = next((site for site in self.model.moe if site.experts == name), None)
        if node.op == "get_attr":
            yield from self._of_attention(node)
        elif module is None or not self.finder.parameters[node]:
            return
        elif isinstance(module, nn.Embedding):
            yield f"{name}.weight", ((), self._on_stream(f"{name}.weight", 1, Role.WRITE))
        elif mixture is not None:
            yield from self._of_experts(mixture)
        elif self.finder.is_linear(node):
            yield from self._of_linear(node, module, name)
        elif norm := self._norm(node):
            yield from self._of_norm(node, norm, name, tied=tied)

    def _on_stream(self, tensor: str, dim: int, role: Role) -> Features:
        if (tensor, dim) not in self.stream:
            return ()
        return (Segment(STREAM, role, self.model.tensors[self.model.tied.get(tensor, tensor)].shape[dim]),)

    def _of_attention(self, node: fx.Node) -> Iterator[tuple[str, Dims]]:
        """A number for each head that an attention takes beside queries, keys and values."""
        layer = layer_of(self.blocks.path, str(node.target))
        site = next((site for site in self.model.attention if site.layer == layer), None)
        if site and any(map(is_attention, node.users)) and _shape(node) == (site.heads,):
            yield str(node.target), ((Segment(HEADS, Role.GAIN, site.heads, groups=site.kv_heads),),)

    def _of_linear(self, node: fx.Node, module: nn.Module, name: str) -> Iterator[tuple[str, Dims]]:
        parameters = self.finder.parameters[node]
        matrices = [key for key, parameter in parameters.items() if parameter.dim() == 2]
        if len(matrices) != 1:
            return
        weight = f"{name}.{matrices[0]}"
        out, inner = (1, 0) if isinstance(module, Conv1D) else (0, 1)
        makes = self.makes.get(name) or self._on_stream(weight, out, Role.WRITE)
        reads = self.reads.get(name) or self._on_stream(weight, inner, Role.READ)
        yield weight, (makes, reads) if out == 0 else (reads, makes)
        yield from ((f"{name}.{key}", (makes,)) for key in parameters if key != matrices[0])

    def _of_experts(self, site: MoeSite) -> Iterator[tuple[str, Dims]]:
        """None, where the units of experts were not found."""
        for tensor in site.expert_tensors if site.units else ():
            units = next((units for units in site.units if units.tensor == tensor), None)
            stream = Role.WRITE if units is None or units.down else Role.READ
            dims = [self._on_stream(tensor, dim, stream) for dim in range(len(self.model.tensors[tensor].shape))]
            if units is not None:
                turns = (units.times, 1) if units.interleaved else (1, units.times)
                role = Role.READ if units.down else Role.WRITE
                dims[units.dim + 1] = (Segment(site.experts, role, site.width, *turns),)
            yield tensor, ((), *dims[1:])

    def _of_norm(self, node: fx.Node, norm: Norm, name: str, *, tied: bool) -> Iterator[tuple[str, Dims]]:
        gain = f"{name}.{norm.gain}"
        if norm.start:
            self.over.raised += [gain]
        if heads := self._heads_over(node):
            self.over.normed += [heads.axis]
            features: Features = (heads,)
        elif features := self._on_stream(gain, 0, Role.LAST_GAIN if tied else Role.GAIN):
            self.over.centred |= norm.centred
        yield gain, (features,)
        if norm.bias:
            role = Role.LAST_BIAS if tied else Role.NORM_BIAS
            yield f"{name}.{norm.bias}", (tuple(replace(segment, role=role) for segment in features),)

    def _heads_over(self, node: fx.Node) -> Segment | None:
        """The heads that a norm goes over all together, if it does: it follows a projection of the attention."""
        made = next((self.makes[str(one.target)] for one in node.all_input_nodes if str(one.target) in self.makes), ())
        if len(made) != 1 or made[0].length != value(node).shape[-1]:
            return None
        return replace(made[0], role=Role.GAIN)

    def _spread(self, name: str, dims: Dims) -> dict[str, Dims]:
        """The same tensor in all layers that are built alike; none of a layer that another stands for."""
        layer = layer_of(self.blocks.path, name)
        if layer is None:
            return {name: dims} if name in self.model.tensors else {}  # a tied one has another name
        moved = partial(_in_layer, self.blocks.path)
        return {
            in_layer(self.blocks.path, name, to): tuple(tuple(moved(segment, to) for segment in dim) for dim in dims)
            for to in self.alike.get(layer, ())
        }


def _shape(node: fx.Node) -> torch.Size | None:
    held = value(node)
    return held.shape if isinstance(held, Tensor) else None


def _in_layer(path: str, segment: Segment, layer: int) -> Segment:
    return replace(segment, axis=in_layer(path, segment.axis, layer))


def _projected(site: AttentionSite) -> dict[str, Features]:
    """What the projections of an attention make: heads, one after another in a tensor, or one inside the other."""
    parts: dict[str, list[tuple[Heads, str, int, int]]] = {}
    for names, heads, axis, count, width in (
        (site.query, site.query_heads, HEADS, site.heads, site.qk_width),
        (site.key, site.key_heads, KV_HEADS, site.kv_heads, site.qk_width),
        (site.value, site.value_heads, KV_HEADS, site.kv_heads, site.v_width),
    ):
        if len(names) == 1 and heads is not None:
            parts.setdefault(names[0], []).append((heads, axis, count, width))
    return {name: made for name, found in parts.items() if (made := _in_order(sorted(found, key=_start), site))}


def _start(part: tuple[Heads, str, int, int]) -> int:
    return part[0].start


def _in_order(parts: list[tuple[Heads, str, int, int]], site: AttentionSite) -> Features | None:
    (first, axis, count, _), *_ = parts
    outputs = sum(count * width for *_, count, width in parts) if first.transposed else first.rows

    def segment(axis: str, count: int, inner: int) -> Segment:
        return Segment(axis, Role.WRITE, count, inner, groups=site.kv_heads if axis == HEADS else 0)

    if outputs == count * first.stride and {(heads.stride, n) for heads, _, n, _ in parts} == {(first.stride, count)}:
        return (segment(HEADS if len(parts) > 1 else axis, count, first.stride),)
    start = 0
    for heads, _, count, width in parts:
        if (heads.start, heads.stride) != (start, width):
            return None
        start += count * width
    return tuple(segment(axis, count, width) for _, axis, count, width in parts) if start == outputs else None

"""What closes a residual block, found on its trace: the tensors that must be nought for it to add nothing.

Of what a block adds, the last map counts, by its weights and biases; behind it there may be a norm, whose gain then
counts: it blows any small input up to full size, so that a map before it opens at once or not at all.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import NoReturn

import torch
from pydantic import TypeAdapter
from torch import Tensor, fx

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import MoeSite
from growc.diagnostics import fail
from growc.model.build import load_config
from growc.model.kept import keep
from growc.model.layers import in_layer
from growc.model.norms import norm_of
from growc.model.sites import Finder, module_of
from growc.model.trace import value
from growc.model.traced import trace_kinds

IN_PLACE = {"add_", "index_add_"}
SUMS: set[object] = {operator.add, operator.iadd, torch.add, "add", "add_"}

CLOSED = TypeAdapter(dict[str, float])


def closing(model: ModelGraph) -> Mapping[str, float]:
    """The tensors that close the blocks of `model`, of all layers, and the value of each that does.

    Errors: GROW397 (a block adds something that growc cannot close).
    """
    return keep("closing", model.config, {}, CLOSED, lambda: dict(_found(model)))


def _found(model: ModelGraph) -> Iterator[tuple[str, float]]:
    traced = trace_kinds(load_config(model.config))
    finder = Finder(traced.graph, traced.model, traced.blocks.path)
    letters = traced.blocks.letters
    for letter in dict.fromkeys(letters):
        first = letters.index(letter)
        block = _Block(finder, first, [site for site in model.moe if site.layer == first])
        alike = [layer for layer, other in enumerate(letters) if other == letter]
        for name, start in block.closing():
            yield from ((in_layer(traced.blocks.path, name, layer), start) for layer in alike)


class _Block:
    def __init__(self, finder: Finder, layer: int, mixtures: list[MoeSite]) -> None:
        self.finder, self.layer, self.mixtures = finder, layer, mixtures

    def closing(self) -> Iterator[tuple[str, float]]:
        """The tensors of the block that close it, with their values."""
        ends = [node for node in self.finder.order if self._leaves(node)]
        if len(ends) != 1 or not self._is_stream(ends[0]):
            self._refuse("its output is not a sum with its input")
        for node in dict.fromkeys(node for branch in self._branches(ends[0]) for node in self._last(branch)):
            yield from self._closed(node)

    def _inside(self, node: fx.Node) -> bool:
        return self.finder.layer(node) == self.layer

    def _leaves(self, node: fx.Node) -> bool:
        """Whether a node is what later layers get of this one."""
        behind = [user for user in node.users if not self._inside(user)]
        return self._inside(node) and bool(behind) and _is_float(node)

    def _is_stream(self, node: fx.Node) -> bool:
        """Whether a node is the block's input, or what was added to it so far."""
        if not self._inside(node):
            return _is_float(node)
        if _is(node, SUMS):
            return any(map(self._is_stream, _tensors(node)))
        return self._passes(node) and self._is_stream(_tensors(node)[0])

    def _passes(self, node: fx.Node) -> bool:
        """Whether a node has nothing to say of its own: a cast, a dropout, a number as factor."""
        given = _tensors(node)
        return len(given) == 1 and not self.finder.is_parametric(node) and value(given[0]).shape == value(node).shape

    def _branches(self, node: fx.Node) -> Iterator[fx.Node]:
        """What is added to the stream up to a node that is the stream."""
        if not self._inside(node):
            return
        for given in _tensors(node):
            if self._is_stream(given):
                yield from self._branches(given)
            else:
                yield given

    def _last(self, node: fx.Node) -> list[fx.Node]:
        """The last modules with parameters on all ways to a node; of a product, on the way of its last factor."""
        if not self._inside(node):
            self._refuse("it adds what comes from outside of it")
        added = [last for one in _added_in_place(node) for last in self._last(one)]
        if self.finder.is_parametric(node):
            return [node, *added]
        given = _tensors(node)
        if len(given) > 1 and not _is(node, SUMS):
            whole = [one for one in given if value(one).shape == value(node).shape]
            given = (whole or sorted(given, key=lambda one: value(one).numel()))[-1:]
        if not given:
            self._refuse("it adds what comes from no map")
        return [last for one in given for last in self._last(one)] + added

    def _closed(self, node: fx.Node) -> Iterator[tuple[str, float]]:
        module = self.finder.modules.get(node)
        if module is None:
            self._refuse("its attention is followed by no map")
        name, parameters = module_of(node), self.finder.parameters[node]
        for site in self.mixtures:
            if site.experts == name:
                yield from ((tensor, 0.0) for tensor in self._way_back(site))
                return
        if self.finder.is_linear(node):
            yield from ((f"{name}.{key}", 0.0) for key in parameters)
        elif norm := norm_of(module, parameters, int(value(node).shape[-1])):
            yield f"{name}.{norm.gain}", norm.start
            yield from ((f"{name}.{key}", 0.0) for key in (norm.bias,) if key)
        else:
            self._refuse(f"{name} is neither a linear map nor a norm")

    def _way_back(self, site: MoeSite) -> tuple[str, ...]:
        """The tensors of experts that map units back to the stream: matrices, and biases that have no units."""
        leads_in = {units.tensor for units in site.units if not units.down}
        if not leads_in:
            self._refuse(f"the intermediate units of {site.experts} were not found")
        return tuple(name for name in site.expert_tensors if name not in leads_in)

    def _refuse(self, why: str) -> NoReturn:
        fail(
            "GROW397",
            f"layer {self.layer} cannot start closed: {why}",
            help="let copies start as they are: `start: copy`",
        )


def _is(node: fx.Node, targets: set[object]) -> bool:
    return node.op in ("call_function", "call_method") and node.target in targets


def _added_in_place(node: fx.Node) -> list[fx.Node]:
    """What later nodes add to the value of a node, which others read by its name."""
    adds = [user for user in node.users if user.target in IN_PLACE and user.args[0] is node and not user.users]
    return [one for user in adds for one in _tensors(user) if one is not node]


def _is_float(node: fx.Node) -> bool:
    held = value(node)
    return isinstance(held, Tensor) and held.is_floating_point() and held.dim() == 3


def _tensors(node: fx.Node) -> list[fx.Node]:
    """The inputs of a node that are tensors of numbers."""
    return [one for one in node.all_input_nodes if isinstance(value(one), Tensor) and value(one).is_floating_point()]

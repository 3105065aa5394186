"""What every tensor with an axis of experts is to its layer: found by moving the number of experts in the config.

A tensor whose size moves with that number belongs to the mixture, wherever it lies and whatever it is called. Whether
it is the bias of the logits or shifts the choice of experts is seen by running the router.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from growc.anatomy.model_graph import Axis, Blocks
from growc.anatomy.sites import MoeSite
from growc.model.build import REFUSALS
from growc.model.layers import in_layer, layer_of
from growc.model.trace import value, values
from growc.nn.rewired import SUMS, Followed, own_logits

ADDING: frozenset[object] = frozenset((*SUMS, operator.add, operator.iadd, "add", "add_", "__add__", "__radd__"))

Use = str
"""What a router does with a vector: "linear" (the bias of its map), "sum" (added to scores), or "other"."""


def find(
    moe: tuple[MoeSite, ...],
    axes: Iterable[Axis],
    expert_field: str | None,
    graph: fx.GraphModule,
    model: nn.Module,
    blocks: Blocks,
) -> tuple[MoeSite, ...]:
    """The sites with `router_rows`, `selection_bias`, `per_expert` and `unknown` as they are by their axes.

    Args:
        moe: every site of the whole model.
        axes: of the whole model.
        expert_field: the key that sets the number of experts; without one, sites stay as they are.
        graph: the trace of `model`.
        model: with the first block of every kind.
        blocks: of the whole model.
    """
    if expert_field is None:
        return moe
    dims = [d for axis in axes if axis.field == expert_field and not axis.structural for d in axis.dims]
    moved: dict[int | None, dict[str, tuple[int, float]]] = {}
    for d in dims:
        moved.setdefault(layer_of(blocks.path, d.tensor), {})[d.tensor] = (d.dim, d.factor)
    found: dict[str, MoeSite] = {}
    for site in moe:
        letter = blocks.letters[site.layer]
        if letter not in found:
            found[letter] = _classified(site, moved.get(site.layer, {}) | moved.get(None, {}), graph, model)
    return tuple(_as_in_first(site, found[blocks.letters[site.layer]], blocks) for site in moe)


def _as_in_first(site: MoeSite, first: MoeSite, blocks: Blocks) -> MoeSite:
    def here(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(in_layer(blocks.path, name, site.layer) for name in names)

    bias = here([first.selection_bias])[0] if first.selection_bias is not None else None
    return replace(
        site,
        router_rows=here(first.router_rows),
        selection_bias=bias,
        per_expert=here(first.per_expert),
        unknown=here(first.unknown),
        rule=here([first.rule])[0],
        rule_adds_bias=first.rule_adds_bias,
    )


def _classified(
    site: MoeSite, moved: Mapping[str, tuple[int, float]], graph: fx.GraphModule, model: nn.Module
) -> MoeSite:
    """One site of the model that was traced, with its tensors told apart."""
    known = {*site.expert_tensors, *site.adjugates, *(n for n in site.router_rows if len(_shape(model, n)) > 1)}
    straight = {n for n, (dim, factor) in moved.items() if dim == 0 and factor == 1}
    matrices = {n for n in straight - known if len(_shape(model, n)) > 1}
    unknown = sorted((moved.keys() - straight - {*site.adjugates}) | matrices)
    vectors = [n for n in moved if n in straight - known and len(_shape(model, n)) == 1]
    node = next(n for n in graph.graph.nodes if n.op == "call_module" and str(n.target) == site.router)
    rule = _rule(model, site)
    seen = _uses(node, graph, site, vectors)
    rows = [n for n in vectors if seen.get(n, "linear" if n in site.router_rows else "other") == "linear"]
    biases = [n for n in vectors if seen.get(n) == "sum"]
    inside = True
    for name in (n for n in vectors if n not in rows and n not in biases):
        for adding in _additions(graph, name):
            biases.append(name)
            inside = _module(adding) == rule or _module(adding).startswith(f"{rule}.")
    bias = biases[0] if len(biases) == 1 else None
    return replace(
        site,
        router_rows=(*(n for n in site.router_rows if len(_shape(model, n)) > 1), *rows),
        selection_bias=bias,
        per_expert=tuple(n for n in vectors if n not in rows and n != bias),
        unknown=tuple(unknown),
        rule=rule,
        rule_adds_bias=inside,
    )


def _shape(model: nn.Module, name: str) -> torch.Size:
    owner, _, attribute = name.rpartition(".")
    return getattr(model.get_submodule(owner), attribute).shape


def _rule(model: nn.Module, site: MoeSite) -> str:
    """The module that chooses by the router's logits: the router, or one around it without other matrices."""
    outer = site.router.rpartition(".")[0]
    if outer == site.block or f"{site.experts}.".startswith(f"{outer}."):
        return site.router
    around = model.get_submodule(outer)
    own = {id(p) for p in model.get_submodule(site.router).parameters()}
    return outer if all(id(p) in own or p.dim() < 2 for p in around.parameters()) else site.router


def _module(node: fx.Node) -> str:
    stack: dict[str, tuple[str, type]] = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""


def _additions(graph: fx.GraphModule, name: str) -> Iterator[fx.Node]:
    """The nodes that add a tensor, cast or reshaped on the way, to something."""
    todo = [node for node in graph.graph.nodes if node.op == "get_attr" and str(node.target) == name]
    while todo:
        node = todo.pop()
        for user in node.users:
            if user.target in ADDING:
                yield user
            elif isinstance(value(user), Tensor) and value(user).numel() == value(node).numel():
                todo.append(user)


def _uses(node: fx.Node, graph: fx.GraphModule, site: MoeSite, vectors: Sequence[str]) -> dict[str, Use]:
    """What the router's module does with its own vectors, and with those that it is given; nothing seen, no entry."""
    module = graph.get_submodule(site.router)
    own = {f"{site.router}.{n}": t for n, t in (*module.named_parameters(), *module.named_buffers())}
    given = {str(a.target): value(a) for a in node.all_input_nodes if a.op == "get_attr"}
    tensors = {name: t for name, t in {**own, **given}.items() if name in vectors}
    mode = _Uses(tensors)
    try:
        with torch.no_grad(), mode:
            module(*values(node.args), **values(node.kwargs))
    except REFUSALS:  # it needs more than its arguments: nothing was seen of what comes after
        return mode.seen
    hidden = {n: "linear" for n in tensors if n in site.router_rows} if mode.map_is_hidden else {}
    return hidden | mode.seen


class _Uses(TorchFunctionMode):
    """While on: notes what becomes of some tensors."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(t): name for name, t in tensors.items()}
        self._followed = Followed(tensors.values())
        self.seen: dict[str, Use] = {}
        self.map_is_hidden = False

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func is own_logits:
            self.map_is_hidden = True
        elif func is F.linear:
            self._note("linear", (*args[2:], *options.values()))
        elif func in SUMS:
            self._note("sum", args)
        result = func(*args, **options)
        self._followed.follow(func, args, result)
        return result

    def _note(self, use: Use, items: Iterable[object]) -> None:
        for item in items:
            origin = self._followed.origin(item)
            if origin is not None:
                self.seen[self._names[id(origin)]] = use

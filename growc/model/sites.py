"""Where a model can grow, found on its graph by what the modules do and never by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg
from transformers.pytorch_utils import Conv1D

from growc.anatomy.model_graph import Blocks
from growc.anatomy.sites import AttentionSite, FfnSite, Heads, MoeSite
from growc.model import limits
from growc.model.layers import in_layer, layer_of
from growc.model.trace import value
from growc.nn.adjugates import Adjugates
from growc.nn.attention_experts import AttentionRouter
from growc.nn.deltas import Deltas
from growc.nn.domain_router import DomainRouter

Test = Callable[[fx.Node], bool]
_Site = TypeVar("_Site", MoeSite, FfnSite, AttentionSite)


@dataclass(frozen=True)
class Sites:
    """Every site of a model, in forward order; `attention_modules` are the modules that attend.

    `near_miss` says of what is most like a dense feed-forward network why it is none, where there is none.
    """

    path: str
    moe: tuple[MoeSite, ...]
    ffn: tuple[FfnSite, ...]
    attention: tuple[AttentionSite, ...]
    attention_modules: frozenset[str]
    near_miss: str


def find(graph: fx.GraphModule, model: nn.Module, blocks: Blocks) -> Sites:
    """Find the sites of a model with these `blocks`.

    Args:
        graph: the trace of `model`.
        model: the whole model, or its first layers with one block of each kind at least.
        blocks: of the whole model; a block gets the sites of the first one that is built alike.
    """
    finder = Finder(graph, model, blocks.path)
    nodes = graph.graph.nodes
    networks = [site for node in nodes if (site := finder.ffn(node))]
    reasons = () if networks else filter(None, map(finder.near_miss, nodes))
    return Sites(
        path=finder.path,
        moe=_spread((site for node in nodes if (site := finder.moe(node))), blocks),
        ffn=_spread(networks, blocks),
        near_miss=next(iter(reasons), ""),
        attention=_spread((site for node in nodes if (site := finder.attention(node))), blocks),
        attention_modules=frozenset(module_of(node) for node in nodes if is_attention(node)),
    )


def _spread(sites: Iterable[_Site], blocks: Blocks) -> tuple[_Site, ...]:
    by_layer: dict[int, list[_Site]] = defaultdict(list)
    for site in sites:
        by_layer[site.layer].append(site)
    return tuple(
        _in_layer(site, blocks.path, layer)
        for layer, letter in enumerate(blocks.letters)
        for site in by_layer[blocks.letters.index(letter)]
    )


def _in_layer(site: _Site, path: str, layer: int) -> _Site:
    """The same site in another layer."""

    def named(item: Any) -> Any:
        match item:
            case str():
                return in_layer(path, item, layer)
            case tuple():
                return tuple(map(named, item))
            case _:
                return item

    return replace(site, **{field.name: named(getattr(site, field.name)) for field in fields(site)} | {"layer": layer})


def is_attention(node: fx.Node) -> bool:
    """Whether the node is one opaque attention."""
    return node.op == "call_function" and node.target is torch.ops.growc.attention


def module_of(node: fx.Node) -> str:
    """The module that a node calls, or for other nodes the one they run in."""
    if node.op == "call_module":
        return str(node.target)
    stack: dict[str, tuple[str, type]] = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""


def common_module(*names: str) -> str:
    """The innermost module that holds all the named ones (`a.b` for `a.b.c` and `a.b.d.e`)."""
    owners = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return ".".join(parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, owners))


class Finder:
    """What the nodes of a trace are, and which are nearest to which."""

    def __init__(self, graph: fx.GraphModule, model: nn.Module, path: str) -> None:
        self.modules: dict[fx.Node, nn.Module] = {
            node: graph.get_submodule(str(node.target)) for node in graph.graph.nodes if node.op == "call_module"
        }
        self.parameters = {node: dict(m.named_parameters(recurse=False)) for node, m in self.modules.items()}
        self.order = {node: index for index, node in enumerate(graph.graph.nodes)}
        self.path = path
        self.model = model  # the graph keeps leaves only; attributes of the modules around them are here

    def layer(self, node: fx.Node) -> int | None:
        """The layer that a node lies in, or None outside of the repeated blocks."""
        return layer_of(self.path, module_of(node))

    def nearest(self, start: fx.Node, stop: Test, neighbours: Callable[[fx.Node], list[fx.Node]]) -> list[fx.Node]:
        """The first nodes that satisfy `stop` on every way from `start`, within its block."""
        layer, seen, found, todo = self.layer(start), {start}, list[fx.Node](), [start]
        while todo:
            for node in neighbours(todo.pop()):
                if node not in seen and (node.op == "get_attr" or self.layer(node) == layer):
                    seen.add(node)
                    (found if stop(node) else todo).append(node)
        return sorted(found, key=self.order.__getitem__)

    def sources(self, start: fx.Node, stop: Test) -> list[fx.Node]:
        """The last nodes before `start` that satisfy `stop`, on every way to it within its block."""
        return self.nearest(start, stop, lambda node: node.all_input_nodes)

    def is_linear(self, node: fx.Node) -> bool:
        """A module call with a matrix, and no larger tensor, that is no table of embeddings, nor a norm of heads."""
        dims = {parameter.dim() for parameter in self.parameters.get(node, {}).values()}
        if 2 not in dims or max(dims) > 2 or isinstance(self.modules[node], nn.Embedding):
            return False
        return not self._scales_heads(node)

    def _scales_heads(self, node: fx.Node) -> bool:
        """Whether a module has a number for every feature of every head: of shape (heads, width), as Cohere's norms."""
        given, made = value(node.all_input_nodes[0]), value(node)
        if not isinstance(given, Tensor) or not isinstance(made, Tensor) or given.dim() != 4:
            return False
        shapes = {tuple(parameter.shape) for parameter in self.parameters[node].values()}
        return made.shape == given.shape and shapes == {tuple(given.shape[-2:])}

    def rows(self, node: fx.Node) -> dict[str, Tensor]:
        """The parameters of a module, and the embeddings of domains that a router has in the place of its weight."""
        module = self.modules.get(node)
        fixed = {"weight": module.weight} if isinstance(module, DomainRouter) else {}
        return {**fixed, **self.parameters.get(node, {})}

    def is_parametric(self, node: fx.Node) -> bool:
        """Whether a node is a module with parameters of its own, or an attention."""
        return bool(self.parameters.get(node)) or is_attention(node)

    def moe(self, node: fx.Node) -> MoeSite | None:
        """Experts are a leaf with two or more stacks of E matrices (or E deltas); the router has E rows."""
        layer, module = self.layer(node), self.modules.get(node)
        if isinstance(module, Adjugates):  # of which there is one for each group of experts
            return None
        stacks = [p for p in self.parameters.get(node, {}).values() if p.dim() == 3 or isinstance(module, Deltas)]
        if layer is None or len(stacks) < 2 or len({stack.shape[0] for stack in stacks}) != 1:
            return None
        length = stacks[0].shape[0]

        def scores(candidate: fx.Node) -> bool:
            return any(p.dim() == 2 and p.shape[0] == length for p in self.rows(candidate).values())

        # A projection of the attention may happen to have E rows, too.
        routers = [n for n in self.sources(node, scores) if not any(map(is_attention, self._between(n, node)))]
        if not routers:
            return None
        router = routers[-1]
        experts_name, router_name = str(node.target), str(router.target)
        block = common_module(experts_name, router_name)
        choices = [value(a) for a in node.all_input_nodes if _is_integer(value(a))]
        owners = [
            self.modules[router],
            self.model.get_submodule(common_module(router_name)),
            self.model.get_submodule(block),
        ]
        return MoeSite(
            layer=layer,
            block=block,
            router=router_name,
            experts=experts_name,
            num_experts=length,
            top_k=int(choices[0].shape[-1]) if choices else _attribute(owners, "top_k", default=1),
            expert_tensors=tuple(
                f"{experts_name}.{n}" for n, p in self.parameters[node].items() if p.shape[0] == length
            ),
            router_rows=tuple(
                f"{router_name}.{n}"
                for n, p in self.rows(router).items()
                if p.shape and p.shape[0] == length and n not in getattr(self.modules[router], "not_of_experts", ())
            ),
            rule=router_name,
            selection_bias=_selection_bias(self.model, block, experts_name, length),
            routing_groups=_attribute(owners[:2], "num_group", "n_group", default=1),
            active_groups=_attribute(owners[:2], "topk_group", default=1),
            dense_dispatch=not choices,
            adjugates=tuple(
                f"{owner}.{name}"
                for owner, inner in self.model.get_submodule(block).named_modules(prefix=block)
                if isinstance(inner, Adjugates)
                for name, _ in inner.named_parameters()
            ),
        )

    def ffn(self, node: fx.Node) -> FfnSite | None:
        """A linear map reached only from linear maps of one input, which returns to that input's width."""
        layer = self.layer(node)
        if layer is None or not self.is_linear(node):
            return None
        ups = self.sources(node, self.is_parametric)
        if not ups or not all(map(self.is_linear, ups)):
            return None
        entry, inner = ups[0].args[0], _width(node.args[0])
        if any(up.args[0] is not entry or _width(up) != inner for up in ups) or _width(node) != _width(entry):
            return None
        names = tuple(str(up.target) for up in ups)
        down = str(node.target)
        transposed = isinstance(self.modules[node], Conv1D)
        return FfnSite(layer, common_module(*names, down), names, down, inner, transposed)

    def near_miss(self, node: fx.Node) -> str | None:
        """Why a linear map is no way back of a dense feed-forward network; None of what is nothing like one."""
        if self.layer(node) is None or not self.is_linear(node):
            return None
        before, down, inner = self.sources(node, self.is_parametric), str(node.target), _width(node.args[0])
        between = next((one for one in before if not self.is_linear(one)), None)
        maps = before if between is None else self.sources(between, self.is_linear)
        if not maps or any(is_attention(one) for first in maps for one in self._between(first, node)):
            return None
        if inner == _width(node) or any(_width(one.args[0]) != _width(node) for one in maps):
            return None
        if between is not None:
            return f"{module_of(between)}, before {down}, has parameters of its own"
        if len(maps) == 1 and _width(maps[0]) != inner and _width(maps[0]) % inner == 0:
            return f"{maps[0].target} holds {_width(maps[0]) // inner} maps in one (gate and up), before {down}"
        return f"the maps before {down} have other inputs or widths than it"

    def attention(self, node: fx.Node) -> AttentionSite | None:
        """The linear maps nearest to query, key and value, and the one nearest after."""
        layer = self.layer(node)
        if layer is None or not is_attention(node):
            return None
        operands = [operand for operand in node.args[:3] if isinstance(operand, fx.Node)]
        query, key, value_ = (tuple(str(n.target) for n in self.sources(o, self.is_linear)) for o in operands)
        after = self.nearest(node, self.is_linear, lambda n: list(n.users))
        q, k, v = (value(operand).shape for operand in operands)
        query_heads, key_heads, value_heads = map(self._heads, operands)
        entries = {n.all_input_nodes[0] for o in operands[:2] for n in self.sources(o, self.is_linear)}
        window = node.args[4]
        assert isinstance(window, int)
        return AttentionSite(
            layer=layer,
            query=query,
            key=key,
            value=value_,
            output=str(after[0].target) if after else None,
            heads=q[1],
            kv_heads=k[1],
            qk_width=q[-1],
            v_width=v[-1],
            window=window or None,
            inputs=_width(*entries) if len(entries) == 1 else 0,
            query_heads=query_heads if len(entries) == 1 else None,
            key_heads=key_heads if len(entries) == 1 else None,
            value_heads=value_heads,
            key_value=self._makers(*operands[1:]),
            router=next((str(n.target) for n in self.modules if self._is_router(n) and self.layer(n) == layer), None),
        )

    def _is_router(self, node: fx.Node) -> bool:
        return isinstance(self.modules[node], AttentionRouter)

    def _makers(self, *operands: fx.Node) -> tuple[str, ...]:
        """The linear maps nearest to some operands, and all modules with parameters between."""
        found = {
            str(node.target): None
            for operand in operands
            for linear in self.sources(operand, self.is_linear)
            for node in (linear, *sorted(self._between(linear, operand), key=self.order.__getitem__))
            if self.parameters.get(node)
        }
        return tuple(found)

    def _heads(self, operand: fx.Node) -> Heads | None:
        """Where the heads of an attention's operand lie in its projection, found by following the numbers of outputs.

        The operand is of shape (batch, heads, positions, width), before or behind norms and rotations.
        """
        linears = self.sources(operand, self.is_linear)
        if len(linears) != 1:
            return None
        (linear,), shape = linears, value(operand).shape
        limits.check_outputs(str(linear.target), _width(linear))
        followed: dict[fx.Node, Any] = {linear: torch.arange(_width(linear)).expand(value(linear).shape)}
        for node in sorted(self._between(linear, operand), key=self.order.__getitem__):
            followed[node] = _viewed(node, followed)
            found = followed[node]
            if isinstance(found, Tensor) and sorted(found.shape) == sorted(shape) and found.shape[-1] == shape[-1]:
                numbers = found[0, 0] if torch.equal(found[0, :1].expand_as(found[0]), found[0]) else found[0, :, 0]
                weight = next(p for p in self.parameters[linear].values() if p.dim() == 2)
                return _strided(numbers, weight.shape[0], transposed=isinstance(self.modules[linear], Conv1D))
        return None

    def _between(self, first: fx.Node, last: fx.Node) -> set[fx.Node]:
        """The nodes on the ways from `first` to `last`."""
        found, todo = set[fx.Node](), [last]
        while todo:
            node = todo.pop()
            if node not in found and self.order[node] > self.order[first]:
                found.add(node)
                todo += node.all_input_nodes
        return found


def _viewed(node: fx.Node, followed: dict[fx.Node, Any]) -> Any:
    """What a node makes of numbers, if it only looks at them otherwise, or is a norm; None of all else."""
    known = [followed[n] for n in node.all_input_nodes if followed.get(n) is not None]
    if not known:
        return None
    if node.op == "call_module":
        return known[0] if isinstance(known[0], Tensor) and value(node).shape == known[0].shape else None

    def given(item: Any) -> Any:
        return followed[item] if followed.get(item) is not None else value(item)

    args, kwargs = map_arg((node.args, node.kwargs), given)
    try:
        if node.op == "call_method":
            made = getattr(args[0], str(node.target))(*args[1:], **kwargs)
        else:
            made = node.target(*args, **kwargs) if callable(node.target) else None
    except (RuntimeError, TypeError):  # numbers of outputs and tensors without values do not mix
        return None
    # What computes with tensors that have no values gives whatever lay in memory, and no whole numbers.
    return made if _holds_numbers(made) else None


def _holds_numbers(made: Any) -> bool:
    """Whether all tensors in a result have whole numbers and values; what is no tensor (a shape) has none to lose."""
    items = made if isinstance(made, tuple | list) else (made,)
    return all(_is_integer(item) and not item.is_meta for item in items if isinstance(item, Tensor))


def _strided(numbers: Tensor, rows: int, *, transposed: bool) -> Heads | None:
    """The heads with these numbers of outputs, of shape (heads, width)."""
    heads, width = numbers.shape
    start, stride = int(numbers[0, 0]), int(numbers[1, 0] - numbers[0, 0]) if heads > 1 else width
    straight = start + stride * torch.arange(heads)[:, None] + torch.arange(width)
    return Heads(start, stride, rows, transposed) if torch.equal(numbers, straight) else None


def _is_integer(item: object) -> bool:
    return isinstance(item, Tensor) and not item.is_floating_point() and item.dtype != torch.bool


def _width(argument: object) -> int:
    """Last dimension of a node's value (the first tensor of several)."""
    assert isinstance(argument, fx.Node)
    held = value(argument)
    tensors: Iterator[Tensor] = (
        item for item in (held if isinstance(held, tuple | list) else (held,)) if isinstance(item, Tensor)
    )
    return next(tensors).shape[-1]


def _attribute(owners: list[nn.Module], *names: str, default: int) -> int:
    """The first of the named whole numbers that one of the modules has."""
    found = (getattr(owner, name, None) for owner in owners for name in names)
    return next((number for number in found if isinstance(number, int)), default)


def _selection_bias(model: nn.Module, block: str, experts: str, length: int) -> str | None:
    """The one buffer of the layer, outside of the experts, with one number per expert.

    Where a config key sets the number of experts, `growc.model.expert_tensors` looks closer.
    """
    buffers = model.get_submodule(block).named_buffers(prefix=block)
    found = [name for name, b in buffers if tuple(b.shape) == (length,) and not name.startswith(f"{experts}.")]
    return found[0] if len(found) == 1 else None

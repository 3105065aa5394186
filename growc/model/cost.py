"""Parameters and forward FLOPs of a traced model, by part, counted from the graph."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as functional
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from growc.anatomy.model_graph import AttentionTerm, Blocks, Cost, TensorInfo
from growc.anatomy.sites import MoeSite
from growc.model.attention import FLOP_FORMULAS, attention_flops
from growc.model.layers import layer_of
from growc.model.sites import Sites, is_attention, module_of
from growc.model.trace import value, values

PARTS: tuple[str, ...] = (
    "attention_projections",
    "attention",
    "router",
    "experts",
    "shared",
    "dense_ffn",
    "head",
    "other",
)

PRODUCTS = frozenset(
    {torch.matmul, torch.bmm, torch.baddbmm, torch.einsum, functional.linear, "matmul", "bmm", "__matmul__"}
)
"""Functions and methods outside of leaf modules that multiply matrices."""


def count(
    graph: fx.GraphModule, sites: Sites, blocks: Blocks, tensors: Mapping[str, TensorInfo], head: str | None
) -> Cost:
    """The cost of a traced model; `head` is the module that gives the logits.

    Of blocks that are alike, the first is counted for all. Recurrences beside attention (hybrid models) are counted
    at the length of the trace.
    """
    parts: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    per_position: dict[int | None, float] = defaultdict(float)
    length = 0
    part_of = _Parts(sites, head)
    dense = {site.experts: site.top_k / site.num_experts for site in sites.moe if site.dense_dispatch}
    alike = {blocks.letters.index(letter): times for letter, times in Counter(blocks.letters).items()}
    for node in graph.graph.nodes:
        module = module_of(node)
        layer = layer_of(blocks.path, module)
        times = 1 if layer is None else alike.get(layer, 0)
        if node.op == "placeholder":
            length = value(node).numel()
        elif times and is_attention(node):
            window = node.args[4] or None
            query, key, value_ = (value(operand).shape for operand in node.args[:3])
            per_position[window] += times * attention_flops(query, (*key[:2], 1, key[3]), value_, 0) / length
        elif times and (flops := _products(graph, node)):
            parts[part_of(module)] += times * flops * dense.get(module, 1.0) / length
    terms = tuple(AttentionTerm(flops, window) for window, flops in sorted(per_position.items(), key=_window))
    total = sum(tensor.size for tensor in tensors.values() if tensor.kind == "parameter")
    cost = Cost(total, round(total - _idle(sites.moe, tensors)), sum(parts.values()), terms, parts, length)
    return cost.at(length)


def _window(term: tuple[int | None, float]) -> float:
    return term[0] or float("inf")


def _idle(moe: Iterable[MoeSite], tensors: Mapping[str, TensorInfo]) -> float:
    """Expert parameters that a token does not meet; of adjugates it meets as many as experts, or all."""
    stacks = [(site, tensors[name]) for site in moe for name in (*site.expert_tensors, *site.adjugates)]
    return sum(stack.size * max(0.0, 1 - site.top_k / stack.shape[0]) for site, stack in stacks)


def multiplies(graph: fx.GraphModule) -> bool:
    """Whether matrices are multiplied outside of leaf modules: attention, where it is not one opaque node."""
    return any(node.op != "call_module" and node.target in PRODUCTS for node in graph.graph.nodes)


def _products(graph: fx.GraphModule, node: fx.Node) -> int:
    """FLOPs of a node that multiplies matrices; 0 for all others."""
    args, kwargs = values(node.args), values(node.kwargs)
    if node.op == "call_module":
        leaf: nn.Module = graph.get_submodule(str(node.target))
        if next(leaf.parameters(), None) is None or isinstance(leaf, nn.Embedding):
            return 0
        run = leaf.forward  # a call may be of more than the leaf
    elif node.op == "call_function" and node.target in PRODUCTS:
        assert callable(node.target)
        run = node.target
    elif node.op == "call_method" and node.target in PRODUCTS:
        run = getattr(args[0], str(node.target))
        args = args[1:]
    else:
        return 0
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS) as counter:
        run(*args, **kwargs)
    return counter.get_total_flops()


class _Parts:
    """Which part of the model a module belongs to, by the sites found."""

    def __init__(self, sites: Sites, head: str | None) -> None:
        self.sites = sites
        self.named = {head: "head"} if head else {}
        for site in sites.attention:
            self.named |= dict.fromkeys(site.projections, "attention_projections")
            self.named |= {site.router: "router"} if site.router else {}
        blocks = {site.block for site in sites.moe}
        for site in sites.ffn:
            part = "shared" if any(_inside(site.block, block) for block in blocks) else "dense_ffn"
            self.named |= dict.fromkeys((*site.up, site.down), part)
        for site in sites.moe:
            small = {name.rpartition(".")[0] for name in site.adjugates}
            self.named |= {site.router: "router", **dict.fromkeys((site.experts, *small), "experts")}

    def __call__(self, module: str) -> str:
        if module in self.named:
            return self.named[module]
        if layer_of(self.sites.path, module) is None:
            return "other"
        attends = any(_inside(module, owner) for owner in self.sites.attention_modules)
        return "attention_projections" if attends else "other"


def _inside(module: str, owner: str) -> bool:
    return module == owner or module.startswith(f"{owner}.")

"""From an opened spec to its plan."""

from __future__ import annotations

from collections import defaultdict

from growc.checks import Context, run_checks
from growc.growth.code import code_digest
from growc.growth.graph import GrowNode, GrowthGraph, Node, TrainNode, digest
from growc.growth.open import Opened
from growc.growth.rewrite import Rewrite, unchanged
from growc.model import ModelGraph
from growc.plan.changes import changes, settings
from growc.plan.keff import k_eff
from growc.plan.plan import Cost, Finding, Growth, InvariantRecord, Operation, Plan, Size, Stage, Tensors


def build_plan(opened: Opened) -> Plan:
    """Check an opened spec and write down what it will do.

    A broken invariant does not stop the plan from being made: it stands among its diagnostics.
    """
    findings = run_checks(Context(opened.loaded, opened.source, opened.graph))
    graph = opened.graph
    return Plan(
        name=graph.name,
        spec_path=str(opened.loaded.path.absolute()),
        overrides=opened.overrides,
        hashes=hashes(opened),
        values=dict(opened.loaded.values),
        source=_source(opened),
        stages=tuple(_stage(node) for node in graph.nodes),
        growth=tuple(_growth(node) for node in graph.grow_nodes()),
        cost=_cost(graph),
        diagnostics=tuple(map(Finding.of, findings.diagnostics)),
        invariants=tuple(map(InvariantRecord.of, findings.invariants)),
    )


def hashes(opened: Opened) -> dict[str, str]:
    """What a plan depends on: the spec's values (not its comments), the source model, and growc's code."""
    return {
        "spec": digest(opened.loaded.values),
        "source": opened.source.digest,
        "code": code_digest(),
    }


def _source(opened: Opened) -> str:
    model, size = opened.graph.source, size_of(opened.graph.source)
    experts = f", {size.moe_layers} with {size.experts} experts, top {size.top_k}" if size.experts else ""
    return f"{opened.source.origin}: {model.model_type}, {size.layers} layers{experts} ({model.blocks.pattern})"


def size_of(model: ModelGraph) -> Size:
    """The figures of a model."""
    return Size(
        total_params=model.cost.total_params,
        active_params=model.cost.active_params,
        flops_per_token=model.cost.flops_per_token,
        router_flops_per_token=model.cost.router_flops_per_token,
        layers=model.layers,
        moe_layers=len(model.moe),
        experts=max((site.num_experts for site in model.moe), default=None),
        top_k=max((site.top_k for site in model.moe), default=None),
    )


def _stage(node: Node) -> Stage:
    steps, tokens = (node.steps, node.tokens) if isinstance(node, TrainNode) else (0, 0)
    return Stage.model_validate(
        {
            "name": node.name,
            "kind": node.kind,
            "from": () if node.start.node is None else (str(node.start),),
            "steps": steps,
            "tokens": tokens,
            "model": size_of(node.after),
            "operators": tuple(map(_operation, node.rewrites)) if isinstance(node, GrowNode) else (),
        }
    )


def _operation(rewrite: Rewrite) -> Operation:
    grown, source = rewrite.grown.tensors, rewrite.source.tensors
    copied = sum(unchanged(rewrite, name) for name in grown)
    created = len(grown.keys() - source.keys())
    return Operation(
        op=rewrite.operator.op,
        sites=tuple(site.name for site in rewrite.sites),
        preserves=rewrite.preserves,
        tensors=Tensors(
            created=created,
            reshaped=len(grown) - created - copied,
            copied=copied,
            dropped=len(source.keys() - grown.keys()),
        ),
    )


def _growth(node: GrowNode) -> Growth:
    return Growth(
        stage=node.name,
        preserves=node.preserves,
        before=size_of(node.before),
        settings=tuple(settings(rewrite.operator) for rewrite in node.rewrites),
        changes=tuple(tuple(changes(rewrite)) for rewrite in node.rewrites),
        k_eff=k_eff(node),
    )


def _cost(graph: GrowthGraph) -> Cost:
    tokens: dict[str, int] = defaultdict(int)
    flops: dict[str, float] = defaultdict(float)
    for node in graph.nodes:
        if isinstance(node, TrainNode):
            tokens[node.arm] += node.tokens
            flops[node.arm] += 3 * node.after.cost.flops_per_token * node.tokens
    return Cost(train_tokens=dict(tokens), train_flops=dict(flops))

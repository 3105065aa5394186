"""From an opened spec to its plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from growc.anatomy.grown_format import loads
from growc.anatomy.model_graph import ModelGraph
from growc.checks import Context, run_checks
from growc.files.versions import MEANING
from growc.growth.graph import GrowNode, GrowthGraph, Node, Root, State, TrainNode, digest
from growc.growth.open import Opened
from growc.growth.rewrite import Rewrite, core_seconds, unchanged
from growc.plan.automatic import automatic
from growc.plan.changes import changes, settings
from growc.plan.keff import k_eff
from growc.plan.plan import Cost, Finding, Growth, InvariantRecord, Operation, Plan, Size, Stage, Sweep, Tensors


def build_plan(opened: Opened, *, allow_unlike: bool = False) -> Plan:
    """Check an opened spec and write down what it will do.

    A broken invariant does not stop the plan from being made: it stands among its diagnostics. So do parents with
    unlike tokenizers, unless they are allowed.
    """
    findings = run_checks(Context(opened.loaded, opened.source, opened.graph))
    graph = opened.graph
    return Plan(
        name=graph.name,
        spec_path=str(opened.loaded.path.absolute()),
        spec_text=opened.loaded.text,
        overrides=opened.overrides,
        hashes=hashes(opened),
        values=dict(opened.loaded.values),
        source="; ".join(map(_source, opened.models)),
        stages=tuple(_stages(graph)),
        growth=tuple(_growths(graph)),
        cost=_cost(graph),
        sweep=_sweep(opened) if opened.loaded.axes else None,
        automatic=automatic(opened.loaded.spec.parallel, graph) if opened.loaded.spec.data else {},
        diagnostics=tuple(map(Finding.of, (*opened.of_sources(allow_unlike=allow_unlike), *findings.diagnostics))),
        invariants=tuple(map(InvariantRecord.of, findings.invariants)),
    )


def hashes(opened: Opened) -> dict[str, str]:
    """What a plan depends on: the spec's values (not its comments), the source models, and what growc makes of them."""
    sources = [root.source.digest for root in opened.models]
    used = {(r.operator.op, r.operator.version) for node in opened.graph.grow_nodes() for r in node.rewrites}
    return {
        "spec": digest(opened.loaded.values),
        "source": sources[0] if len(sources) == 1 else digest(sources),
        "code": digest(MEANING, sorted(used)),
    }


def _source(root: Root) -> str:
    model, size = root.model, size_of(root.model)
    experts = f", {size.moe_layers} with {size.experts} experts, top {size.top_k}" if size.experts else ""
    return f"{root.source.origin}: {model.model_type}, {size.layers} layers{experts} ({model.blocks.pattern})"


def size_of(model: ModelGraph) -> Size:
    """The figures of a model."""
    return Size(
        total_params=model.cost.total_params,
        active_params=model.active_params,
        flops_per_token=model.cost.flops_per_token,
        router_flops_per_token=model.cost.router_flops_per_token,
        layers=model.layers,
        moe_layers=len(model.moe),
        experts=max((site.num_experts for site in model.moe), default=None),
        top_k=max((site.top_k for site in model.moe), default=None),
    )


def _stages(graph: GrowthGraph) -> Iterator[Stage]:
    """All stages; what an operator does to one model is written down once, however many arms do it."""
    first = graph.prototypes()
    operations = {node.name: tuple(map(_operation, node.rewrites)) for node in graph.distinct_growths()}
    for node in graph.nodes:
        yield _stage(node, operations[first[node.name].name] if node.name in first else ())


def _stage(node: Node, operations: tuple[Operation, ...]) -> Stage:
    steps, tokens = (node.steps, node.tokens) if isinstance(node, TrainNode) else (0, 0)
    return Stage.model_validate(
        {
            "name": node.name,
            "kind": node.kind,
            "from": _from(node),
            "steps": steps,
            "tokens": tokens,
            "model": size_of(node.after),
            "operators": operations,
        }
    )


def _from(node: Node) -> tuple[str, ...]:
    """The states that it starts from; a stage of the source alone names none."""
    return () if node.starts == (State(None),) else tuple(map(str, node.starts))


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


def _growths(graph: GrowthGraph) -> Iterator[Growth]:
    found = {node.name: _growth(node) for node in graph.distinct_growths()}
    for name, first in graph.prototypes().items():
        yield found[first.name].model_copy(update={"stage": name})


def _growth(node: GrowNode) -> Growth:
    return Growth(
        stage=node.name,
        preserves=node.preserves,
        before=size_of(node.before),
        settings=tuple(settings(rewrite.operator) for rewrite in node.rewrites),
        changes=tuple(tuple(changes(rewrite)) for rewrite in node.rewrites),
        k_eff=k_eff(node),
        loads=loads(node.after.config),
    )


def _cost(graph: GrowthGraph) -> Cost:
    tokens: dict[str, int] = defaultdict(int)
    flops: dict[str, float] = defaultdict(float)
    for node in graph.nodes:
        if isinstance(node, TrainNode):
            tokens[node.arm] += node.tokens
            flops[node.arm] += _flops(node)
    seconds = {node.name: sum(map(core_seconds, node.rewrites)) for node in graph.distinct_growths()}
    growing = {name: seconds[first.name] for name, first in graph.prototypes().items()}
    return Cost(train_tokens=dict(tokens), train_flops=dict(flops), grow_core_seconds=growing)


def _sweep(opened: Opened) -> Sweep:
    graph = opened.graph
    spared = [(node, graph.uses[node.name] - 1) for node in graph.nodes if isinstance(node, TrainNode)]
    return Sweep(
        axes={axis.name: tuple(choice.label for choice in axis.choices) for axis in opened.loaded.axes},
        points=len(opened.loaded.points),
        arms=len(graph.paths),
        saved_stages=graph.shared_stages,
        saved_tokens=sum(node.tokens * times for node, times in spared),
        saved_flops=sum(_flops(node) * times for node, times in spared),
    )


def _flops(node: TrainNode) -> float:
    """FLOPs of training: three times those of the forward pass."""
    return 3 * node.after.cost.flops_per_token * node.tokens

"""Stages of a spec to the growth graph, baselines included."""

from __future__ import annotations

from growc.diagnostics import Diagnostic, GrowcError, fail
from growc.growth.graph import Arm, GrowNode, GrowthGraph, Node, Port, State, TrainNode, digest
from growc.growth.rewrite import Rewrite, rewrite
from growc.model import ModelGraph, inspect
from growc.operators.grown_config import without_siblings
from growc.spec import LoadedSpec
from growc.spec.schema import Spec, Stage, Training

NO_DATA_LENGTH = 4096
"""Sequence length at which FLOPs are counted where a spec has no data."""


def sequence_length(spec: Spec) -> int:
    """The sequence length of a spec's data, in tokens."""
    return spec.data.sequence_length if spec.data else NO_DATA_LENGTH


def build(loaded: LoadedSpec, source: ModelGraph, source_digest: str, code: str) -> GrowthGraph:
    """The growth graph of a spec.

    Args:
        loaded: the spec, with the places of its values.
        source: the model that the spec starts from.
        source_digest: what `ModelSource.digest` says of it.
        code: digest of growc's own code; a node's key depends on it.

    Raises:
        GrowcError: an operator cannot be applied where the spec puts it.
    """
    import networkx as nx

    builder = _Builder(loaded, source, digest(source_digest, code))
    builder.arm("main", range(len(loaded.spec.stages)))
    trunk = builder.trunk()
    target = builder.nodes[trunk[-1]].after
    for baseline in loaded.spec.baselines:
        if baseline == "fixed_source":
            builder.fixed_source(trunk)
        else:
            builder.fixed_target(trunk, target)

    dag: nx.DiGraph[str] = nx.DiGraph()
    for node in builder.nodes.values():
        dag.add_node(node.name)
        if node.start.node is not None:
            dag.add_edge(node.start.node, node.name, port=node.start.port)
    order = list(nx.lexicographical_topological_sort(dag, key=list(builder.nodes).index))
    return GrowthGraph(loaded.spec.name, source, tuple(builder.nodes[name] for name in order), target, dag)


class _Builder:
    def __init__(self, loaded: LoadedSpec, source: ModelGraph, root: str) -> None:
        self.loaded, self.spec, self.source, self.root = loaded, loaded.spec, source, root
        self.length = sequence_length(loaded.spec)
        self.nodes: dict[str, TrainNode | GrowNode] = {}

    def arm(self, arm: Arm, positions: range) -> None:
        previous: str | None = None
        for position in positions:
            stage = self.spec.stages[position]
            self._add(arm, position, self._start(stage, previous))
            previous = stage.name

    def trunk(self) -> list[str]:
        """Names of the main nodes from the source to the last stage."""
        name: str | None = self.spec.stages[-1].name
        path: list[str] = []
        while name is not None:
            path.append(name)
            name = self.nodes[name].start.node
        return path[::-1]

    def fixed_source(self, trunk: list[str]) -> None:
        """The source goes on without growing; everything before the first growth is shared."""
        start: State | None = None
        for name in trunk:
            node = self.nodes[name]
            if isinstance(node, GrowNode):
                start = start or node.start
            elif start is not None:
                self._add("fixed_source", node.position, start)
                start = State(f"fixed_source/{name}", self._port_after(trunk, name))

    def fixed_target(self, trunk: list[str], target: ModelGraph) -> None:
        """A model of the final size, with ordinary routing, trained from its first token."""
        assert target.expert_field is not None
        plain = inspect(without_siblings(target.config, target.expert_field), self.length)
        start = State(None)
        for name in trunk:
            if isinstance(node := self.nodes[name], TrainNode):
                self._add("fixed_target", node.position, start, plain)
                start = State(f"fixed_target/{name}", self._port_after(trunk, name))

    def _port_after(self, trunk: list[str], name: str) -> Port:
        """The port by which the main path leaves train node `name`."""
        following = trunk[trunk.index(name) + 1 :][:1]
        return self.nodes[following[0]].start.port if following else "end"

    def _start(self, stage: Stage, previous: str | None) -> State:
        if stage.from_ is None:
            return State(previous)
        name, _, port = stage.from_.partition(".")
        return State(name, "stable" if port == "stable" else "end")

    def _add(self, arm: Arm, position: int, start: State, scratch: ModelGraph | None = None) -> None:
        stage = self.spec.stages[position]
        name = stage.name if arm == "main" else f"{arm}/{stage.name}"
        if start.node is not None:
            before, parent = self.nodes[start.node].after, self.nodes[start.node].key
        else:
            before, parent = scratch or self.source, digest(self.root, scratch.config if scratch else None)
        identity = (parent, start.port, self.spec.data.model_dump(mode="json") if self.spec.data else None)
        if stage.train is not None:
            training = self.spec.training_for(stage)
            key = digest(identity, stage.train.steps, stage.train.data, training.model_dump(mode="json"))
            self._balanced(position, before, training)
            self.nodes[name] = TrainNode(
                name, arm, stage.name, position, start, before, before, key,
                stage.train.steps, stage.train.data, training, self.length,
                scratch=scratch is not None and start.node is None,
            )  # fmt: skip
            return
        training = self.spec.training
        rewrites = self._rewrites(position, before)
        operators = [{"op": r.operator.op, **r.operator.model_dump(mode="json")} for r in rewrites]
        key = digest(identity, operators, training.seed)
        self.nodes[name] = GrowNode(
            name, arm, stage.name, position, start, before, rewrites[-1].grown, key, rewrites,
            self._data_at(start), training,
        )  # fmt: skip

    def _balanced(self, position: int, model: ModelGraph, training: Training) -> None:
        """Loss-free balancing needs something to move."""
        if training.balance.method != "loss_free" or all(site.selection_bias for site in model.moe):
            return
        span = self.loaded.span("stages", position, "train", "balance")
        fail(
            "GROW308",
            f"stage {self.spec.stages[position].name} balances loss_free, but the routers of {model.model_type} have "
            "no selection bias",
            help="write balance: {method: auxiliary, rate: 1e-2} under training",
            span=span,
        )

    def _data_at(self, start: State) -> str | None:
        """The part of the data that feeds utility scores: that of the train stage before, else the first part."""
        node: Node | None = self.nodes[start.node] if start.node else None
        while node is not None and not isinstance(node, TrainNode):
            node = self.nodes[node.start.node] if node.start.node else None
        if node is not None:
            return node.data
        return next(iter(self.spec.data.parts), None) if self.spec.data else None

    def _rewrites(self, position: int, before: ModelGraph) -> tuple[Rewrite, ...]:
        stage = self.spec.stages[position]
        rewrites: list[Rewrite] = []
        for index, operator in enumerate(stage.grow or ()):
            problems = list(operator.problems(before))
            if problems:
                raise GrowcError(
                    Diagnostic(p.code, p.message, p.help, self.loaded.span("stages", position, "grow", index, *p.where))
                    for p in problems
                )
            seed = f"{self.spec.training.seed}/{stage.name}/{index}"
            rewrites.append(rewrite(operator, before, seed=seed, sequence_length=self.length))
            before = rewrites[-1].grown
        return tuple(rewrites)

"""The arms of one point of a sweep: the chain of its stages, and the baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from growc.anatomy.grown_format import without_siblings
from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import Diagnostic, GrowcError, Span, fail
from growc.growth.compatibility import difference
from growc.growth.graph import GrowNode, Port, Root, State, TrainNode, digest, identity, trained_on, trunk
from growc.growth.rewrite import Rewrite, other_of, refusals, rewrite
from growc.model import inspect
from growc.operators import Operator
from growc.operators.ancestry import Ancestry
from growc.operators.facets import Mixes, control_of, measure_of
from growc.spec import LoadedSpec
from growc.spec.baselines import MAIN, Baseline
from growc.spec.origins import origins
from growc.spec.schema import Spec, Stage, Training

NO_DATA_LENGTH = 4096
"""Sequence length at which FLOPs are counted where a spec has no data."""

HOW_OFTEN = frozenset({"validate_every", "checkpoint_every"})
"""Settings of training that change nothing of what is trained."""


def sequence_length(spec: Spec) -> int:
    """The sequence length of a spec's data, in tokens."""
    return spec.data.sequence_length if spec.data else NO_DATA_LENGTH


@dataclass
class Pool:
    """The nodes of all points, each once, under provisional names; `members` are the (point, arm) that have it."""

    code: str
    data: str
    nodes: dict[str, TrainNode | GrowNode] = field(default_factory=dict[str, TrainNode | GrowNode])
    members: dict[str, list[tuple[int, str]]] = field(default_factory=dict[str, list[tuple[int, str]]])

    def path(self, end: str) -> tuple[str, ...]:
        """The node `end` and all that lead to it, in the order in which they were made: parents first."""
        found, left = {end}, [end]
        while left:
            parents = {state.node for state in self.nodes[left.pop()].starts if state.node is not None}
            left += parents - found
            found |= parents
        return tuple(name for name in self.nodes if name in found)

    def node(self, name: str) -> TrainNode | GrowNode:
        """The node of this provisional name."""
        return self.nodes[name]


class Arms:
    """Builds the arms of the point numbered `index` into `pool`; `paths` has the nodes of each arm, by its name."""

    def __init__(self, index: int, loaded: LoadedSpec, root: Root, pool: Pool) -> None:
        self.index, self.loaded, self.spec, self.root, self.pool = index, loaded, loaded.spec, root, pool
        self.paths: dict[str, tuple[str, ...]] = {}

    def main(self, positions: Iterable[int]) -> None:
        """The stages at `positions`; the path to the last of all is the main arm."""
        ids: dict[str | None, str | None] = {None: None}
        for position in positions:
            start, *others = (
                State(ids[origin.stage], "stable" if origin.stable else "end", origin.source)
                for origin in origins(self.spec, position)
            )
            stage = self.spec.stages[position]
            ids[stage.name] = self._stage(MAIN, position, start, tuple(others), stage.grow)
        end = ids[self.spec.stages[-1].name]
        assert end is not None
        self.paths[MAIN] = self.pool.path(end)

    def baseline(self, name: Baseline, place: Span) -> None:
        """A control arm beside the main one; one without a stage of its own has no path."""
        match name:
            case "fixed_source":
                self._fixed_source()
            case "fixed_target":
                self._fixed_target()
            case _:
                self._control(name, place)

    def _trunk(self) -> list[tuple[TrainNode | GrowNode, Port]]:
        """The nodes of the main arm's trunk, each with the port by which the next one leaves it."""
        return list(trunk(State(self.paths[MAIN][-1]), self.pool.node))[::-1]

    def _fixed_source(self) -> None:
        """The source goes on without growing; everything before the first growth is shared."""
        start: State | None = None
        for node, port in self._trunk():
            if isinstance(node, GrowNode):
                start = start or node.start
            elif start is not None:
                start = State(self._train("fixed_source", node.position, start), port)
                assert start.node is not None
                self.paths["fixed_source"] = self.pool.path(start.node)

    def _fixed_target(self) -> None:
        """A model of the final size, with ordinary routing, trained from its first token."""
        way = self._trunk()
        target = way[-1][0].after
        field = target.expert_field
        config = without_siblings(target.config, field) if field is not None else target.config
        plain = inspect(config, sequence_length(self.spec))
        start = State(None)
        for node, port in way:
            if isinstance(node, TrainNode):
                start = State(self._train("fixed_target", node.position, start, plain), port)
                assert start.node is not None
                self.paths["fixed_target"] = self.pool.path(start.node)

    def _control(self, baseline: Baseline, place: Span) -> None:
        """The main arm from its first growth on, grown by each operator's control of this name, if it has one."""
        start: State | None = None
        controlled = False
        for node, port in self._trunk():
            operators: list[Operator] = []
            if isinstance(node, GrowNode):
                start = start or node.start
                controls = [(r.operator, control_of(r.operator, baseline)) for r in node.rewrites]
                controlled |= any(control is not None for _, control in controls)
                operators = [control or operator for operator, control in controls]
            if start is not None:
                others = node.others if isinstance(node, GrowNode) else ()
                stage = self._stage(baseline, node.position, start, others, operators, place)
                start = State(stage, port)
                self.paths[baseline] = self.pool.path(stage)
        if not controlled:
            fail("GROW313", f"no growth has a control called {baseline}",
                 help="`growc explain GROW313` says what each baseline needs; else remove it", span=place)  # fmt: skip

    def _stage(
        self,
        arm: str,
        position: int,
        start: State,
        others: tuple[State, ...],
        grow: Sequence[Operator] | None,
        place: Span | None = None,
    ) -> str:
        return self._grow(arm, position, start, others, grow, place) if grow else self._train(arm, position, start)

    def _before(self, start: State, fresh: ModelGraph | None = None) -> tuple[ModelGraph, str]:
        """The model at `start`, and all that it depends on."""
        if start.node is not None:
            node = self.pool.nodes[start.node]
            return node.after, digest(self.pool.data, node.key, start.port)
        root = self.root.at(start)
        model = fresh or root.model
        return model, digest(self.pool.data, self.pool.code, root.key, fresh.config if fresh else None)

    def _train(self, arm: str, position: int, start: State, fresh: ModelGraph | None = None) -> str:
        stage = self.spec.stages[position]
        assert stage.train is not None
        steps, data, training = stage.train.steps, stage.train.data, self.spec.training_for(stage)
        before, parent = self._before(start, fresh)
        key = digest(parent, steps, data, training.model_dump(mode="json", exclude=set(HOW_OFTEN)))

        def make(name: str) -> TrainNode:
            self._balanced(position, before, training)
            return TrainNode(
                name, arm, (), stage.name, position, start, before, before, key, self.root, (),
                steps, data, training, sequence_length(self.spec),
                scratch=fresh is not None and start.node is None,
            )  # fmt: skip

        name = self._shared(arm, stage, key, make)
        known = self.pool.nodes[name]
        self.pool.nodes[name] = replace(known, training=_as_often(known.training, training))
        return name

    def _grow(
        self,
        arm: str,
        position: int,
        start: State,
        others: tuple[State, ...],
        grow: Sequence[Operator],
        place: Span | None,
    ) -> str:
        stage, training, data = self.spec.stages[position], self.spec.training, self._data_at(start)
        models, parents = zip(*map(self._before, (start, *others)), strict=True)
        seeds = [f"{training.seed}/{stage.name}/{index}" for index in range(len(grow))]
        scored = [data, training.batch_tokens] if any(measure_of(operator) for operator in grow) else []
        key = digest(parents, list(map(identity, grow)), training.seed, seeds, training.precision.compute, scored)

        def make(name: str) -> GrowNode:
            pasts = [self._past(state) for state in (start, *others)]
            rewrites = self._rewrites(arm, position, models, pasts, grow, seeds, place)
            return GrowNode(
                name, arm, (), stage.name, position, start, models[0], rewrites[-1].grown, key, self.root, (),
                rewrites, data, training, others,
            )  # fmt: skip

        return self._shared(arm, stage, key, make)

    def _shared(self, arm: str, stage: Stage, key: str, make: Callable[[str], TrainNode | GrowNode]) -> str:
        """The stage's node with this key: the one that is there, of whatever arm or point, or a new one."""
        name = f"{stage.name}@{key}"
        if name not in self.pool.nodes:
            self.pool.nodes[name] = make(name)
        self.pool.members.setdefault(name, []).append((self.index, arm))
        return name

    def _balanced(self, position: int, model: ModelGraph, training: Training) -> None:
        """Loss-free balancing needs something to move."""
        biases = [site.selection_bias for site in model.moe]
        movable = all(bias is not None and model.tensors[bias].kind == "buffer" for bias in biases)
        if training.balance.method != "loss_free" or movable:
            return
        span = self.loaded.span("stages", position, "train", "balance")
        fail(
            "GROW308",
            f"stage {self.spec.stages[position].name!r} balances by loss_free, but the routers of {model.model_type} "
            "have no selection bias among their buffers",
            help="write balance: {method: auxiliary, rate: 1e-2} under training",
            span=span,
        )

    def _data_at(self, start: State) -> str | None:
        """The part of the data that feeds utility scores: that of the train stage before, else the first part."""
        first = next(iter(self.spec.data.parts), None) if self.spec.data else None
        return trained_on(start, self.pool.node) or first

    def _past(self, state: State) -> Ancestry:
        grown: list[tuple[str, tuple[Ancestry, ...]]] = []
        for node, _ in trunk(state, self.pool.node):
            if isinstance(node, GrowNode):
                first, *others = (step.operator.op for step in node.rewrites)
                mixed = tuple(map(self._past, node.starts))
                grown += [*((op, mixed[:1]) for op in reversed(others)), (first, mixed)]
        name = State(state.node and self.pool.nodes[state.node].stage, state.port, state.source)
        return Ancestry(str(name), trained_on(state, self.pool.node), tuple(grown))

    def _rewrites(
        self,
        arm: str,
        position: int,
        models: Sequence[ModelGraph],
        pasts: Sequence[Ancestry],
        grow: Sequence[Operator],
        seeds: Sequence[str],
        place: Span | None,
    ) -> tuple[Rewrite, ...]:
        rewrites: list[Rewrite] = []
        for index, (operator, seed) in enumerate(zip(grow, seeds, strict=True)):
            before = models[0]
            mixing = operator.mixing(len(models)) if isinstance(operator, Mixes) else operator
            problems = refusals(mixing, before)
            if not problems:
                self._alike(position, models, other_of(mixing, before))
            if not problems and isinstance(mixing, Mixes):
                problems = list(mixing.problems_together(models, pasts))
            if problems:
                at, whose = ("stages", position, "grow", index), f"the control {arm}: " if place else ""
                raise GrowcError(
                    Diagnostic(p.code, whose + p.message, p.help, place or self.loaded.span(*at, *p.where))
                    for p in problems
                )
            length = sequence_length(self.spec)
            rewrites.append(rewrite(mixing, before, seed=seed, sequence_length=length, parents=len(models)))
            models = [rewrites[-1].grown]
        return tuple(rewrites)

    def _alike(self, position: int, models: Sequence[ModelGraph], like: ModelGraph) -> None:
        """Only models of one architecture can be mixed with the first: mostly its own, which is `like`."""
        for number, model in enumerate(models[1:], start=1):
            if told := difference(like, model):
                first, other = self.spec.stages[position].origins[0], self.spec.stages[position].origins[number]
                fail("GROW390", f"{first} and {other} cannot be mixed: {told}",
                     help="mix models of one architecture; `growc explain GROW390`",
                     span=self.loaded.span("stages", position, "from", number))  # fmt: skip


def _as_often(one: Training, other: Training) -> Training:
    """A stage that several arms share validates and saves as often as the most eager of them asks."""
    asked = {key: [e for t in (one, other) if (e := getattr(t, key)) is not None] for key in HOW_OFTEN}
    return one.model_copy(update={key: min(every, default=None) for key, every in asked.items()})

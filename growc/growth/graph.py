"""The growth graph: train and grow nodes between model states, with all arms sharing the stages they have in common.

A node's key hashes all that its result depends on: what it does, its parent's key, the data and the code. Resuming and
sharing need no more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from growc.anatomy.model_graph import ModelGraph
from growc.growth.rewrite import Rewrite
from growc.model import ModelSource
from growc.operators import Operator
from growc.operators.claims import Preserves
from growc.spec import LoadedSpec
from growc.spec.points import Point
from growc.spec.schema import Model, Training
from growc.spec.training import stable_step

if TYPE_CHECKING:
    import networkx as nx

Port = Literal["end", "stable"]


@dataclass(frozen=True)
class State:
    """Where a node starts: the state after `node`, the stable state before its anneal, or (None) a source itself.

    With no node, `source` is the name of a further source, "" for the model of the spec, and `scratch` of the node says
    that the weights are fresh draws of the model's own initialisation.
    """

    node: str | None
    port: Port = "end"
    source: str = ""

    def __str__(self) -> str:
        if self.node is None:
            return f"sources.{self.source}" if self.source else "source"
        return self.node + (".stable" if self.port == "stable" else "")

    @staticmethod
    def read(text: str) -> State:
        """The state of which this is the text."""
        if "/" not in text and (text == "source" or text.startswith("sources.")):
            return State(None, source=text.removeprefix("sources.") if "." in text else "")
        return State(text.removesuffix(".stable"), "stable" if text.endswith(".stable") else "end")


@dataclass(frozen=True)
class Root:
    """What arms start from: the source, and the model that it holds; `others` are the further sources, by name.

    `given` is the spec's section that describes it.
    """

    source: ModelSource
    model: ModelGraph
    given: Model
    others: Mapping[str, Root] = field(default_factory=dict[str, "Root"])

    @property
    def key(self) -> str:
        """What tells it from other sources: branches of one model have the same config and headers in their folders."""
        return digest(self.source.digest, self.given.model_dump(mode="json"))

    def at(self, state: State) -> Root:
        """The source that a state without a node is."""
        assert state.node is None
        return self.others[state.source] if state.source else self

    def every(self) -> tuple[Root, ...]:
        """This one and the further ones."""
        return (self, *self.others.values())


@dataclass(frozen=True)
class Node:
    """One stage of one arm. `before` and `after` are the model; they are equal for a train node.

    `arm` is "main" or a baseline's name. `point` has the axes of the sweep that the node depends on: those on which
    all points that share the node agree. `root` is where its arm starts, and `specs` are those of the points. `start`
    is the state that it starts from, the first one where it mixes several.
    """

    name: str
    arm: str
    point: Point
    stage: str
    position: int
    start: State
    before: ModelGraph
    after: ModelGraph
    key: str
    root: Root
    specs: tuple[LoadedSpec, ...] = field(compare=False, repr=False)

    @property
    def loaded(self) -> LoadedSpec:
        """The spec that the node is a stage of, for the places of its values."""
        return self.specs[0]

    @property
    def starts(self) -> tuple[State, ...]:
        """All states that it starts from."""
        return (self.start,)

    @property
    def origin(self) -> str | list[str]:
        """What it starts from, as records have it: a list only where it mixes several states."""
        names = list(map(str, self.starts))
        return names if len(names) > 1 else names[0]

    @property
    def kind(self) -> Literal["train", "grow"]:
        """Whether this node trains or grows."""
        return "grow" if isinstance(self, GrowNode) else "train"

    def steps_to(self, port: Port) -> int:  # noqa: ARG002, a growth has one state and no steps
        """Optimizer steps up to its end, or to the stable state before its anneal."""
        return 0


@dataclass(frozen=True)
class TrainNode(Node):
    """`steps` optimizer steps over one part of the data."""

    steps: int
    data: str
    training: Training
    sequence_length: int
    scratch: bool

    @property
    def tokens(self) -> int:
        """Training tokens of the whole node."""
        return self.steps * self.training.batch_tokens

    @override
    def steps_to(self, port: Port) -> int:
        return stable_step(self.training.schedule, self.steps) if port == "stable" else self.steps


@dataclass(frozen=True)
class GrowNode(Node):
    """One or more operators in a row; `data` and `training` feed utility scores and validation.

    `others` are the further states that the first of them mixes with the one at `start`, in order.
    """

    rewrites: tuple[Rewrite, ...]
    data: str | None
    training: Training
    others: tuple[State, ...] = ()

    @property
    @override
    def starts(self) -> tuple[State, ...]:
        return (self.start, *self.others)

    @property
    def preserves(self) -> Preserves:
        """The claim of all operators together."""
        claim = Preserves.EXACTLY
        for rewrite in self.rewrites:
            claim = claim.worst(rewrite.preserves)
        return claim


@dataclass(frozen=True)
class ArmPath:
    """What one arm does at one point of the sweep: its end and all that leads there, shared nodes included, in an order
    in which they can run.

    `point` has every axis; `seed` and `source` are the ones it starts with.
    """

    point: Point
    arm: str
    nodes: tuple[str, ...]
    seed: int
    source: ModelGraph


@dataclass(frozen=True)
class GrowthGraph:
    """All nodes in an order in which they can run; `dag` has an edge per dependency with its `port`.

    `paths` has the arms of every point, "main" first. `uses` says for how many arms a node runs; stages that lead to
    the end of no arm run for themselves. `seed_axes` are the axes of the sweep that set nothing but the seed.
    """

    name: str
    source: ModelGraph
    nodes: tuple[TrainNode | GrowNode, ...]
    target: ModelGraph
    paths: tuple[ArmPath, ...]
    uses: Mapping[str, int]
    seed_axes: tuple[str, ...]
    dag: nx.DiGraph[str] = field(compare=False, repr=False)

    @property
    def shared_stages(self) -> int:
        """How many stages the arms save by sharing those that they have in common."""
        return sum(uses - 1 for uses in self.uses.values())

    def node(self, name: str) -> TrainNode | GrowNode:
        """The node called `name`."""
        return next(n for n in self.nodes if n.name == name)

    def grow_nodes(self) -> Iterator[GrowNode]:
        """The nodes that grow, in order."""
        return (n for n in self.nodes if isinstance(n, GrowNode))

    def prototypes(self) -> dict[str, GrowNode]:
        """For every node that grows, by name, the first that does the same to the same model but for the seed."""
        first: dict[str, GrowNode] = {}
        return {
            node.name: first.setdefault(
                digest(node.before.config, len(node.starts), [identity(r.operator) for r in node.rewrites]), node
            )
            for node in self.grow_nodes()
        }

    def distinct_growths(self) -> tuple[GrowNode, ...]:
        """The nodes that grow, without those that do what an earlier one does but for the seed."""
        return tuple({node.name: node for node in self.prototypes().values()}.values())

    def parts(self, node: GrowNode) -> tuple[str | None, ...]:
        """The parts of the data that the states were trained on from which a node starts, each once."""
        found = dict.fromkeys(part for state in node.starts if (part := self.part(state)) is not None)
        return tuple(found) or (node.data,)

    def part(self, state: State) -> str | None:
        """The part of the data of the last train stage before a state, if there is one."""
        return trained_on(state, self.node)

    def sequences_read(self, node: Node, part: str | None) -> int:
        """Sequences of a part of the data that were read on the longest way to `node`: branches read the same ones."""
        return max(self._read_at(state, part) for state in node.starts)

    def _read_at(self, state: State, part: str | None) -> int:
        if state.node is None:
            return 0
        node = self.node(state.node)
        before = self.sequences_read(node, part)
        if not isinstance(node, TrainNode) or node.data != part:
            return before
        return before + node.steps_to(state.port) * node.training.batch_tokens // node.sequence_length

    def source_of(self, node: Node, state: State) -> ModelSource:
        """The model that the stages before a state of `node` started from, the first where several were mixed."""
        for node, _ in trunk(state, self.node):
            state = node.start
        return node.root.at(state).source

    def keeps_stable(self, name: str) -> bool:
        """Whether some node starts from the stable state of `name`."""
        return any(State(name, "stable") in n.starts for n in self.nodes)


def trunk(state: State, find: Callable[[str], TrainNode | GrowNode]) -> Iterator[tuple[TrainNode | GrowNode, Port]]:
    """The nodes that led to a state, the last one first, each with the port by which the way leaves it.

    It goes along the first of the states where a node mixes several. `find` has the nodes by name.
    """
    while state.node is not None:
        node = find(state.node)
        yield node, state.port
        state = node.start


def trained_on(state: State, find: Callable[[str], TrainNode | GrowNode]) -> str | None:
    """The part of the data of the last train node before a state, if there is one."""
    return next((node.data for node, _ in trunk(state, find) if isinstance(node, TrainNode)), None)


def described(operator: Operator) -> dict[str, Any]:
    """An operator with all its settings, as YAML would have it."""
    return {"op": operator.op, **operator.model_dump(mode="json")}


def identity(operator: Operator) -> tuple[int, dict[str, Any]]:
    """What tells one growth from another: the version of what the operator makes of a model, and its settings."""
    return operator.version, described(operator)


def digest(*parts: Any) -> str:
    """A hash over JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

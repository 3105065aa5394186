"""The growth graph: train and grow nodes between model states, with baselines sharing the trunk they have in common.

A node's key hashes its own spec, its parents' keys, its data and the code, which is all that resuming and sharing need.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from growc.growth.rewrite import Rewrite
from growc.model import ModelGraph
from growc.operators.operator import Preserves
from growc.spec.schema import Training

if TYPE_CHECKING:
    import networkx as nx

Port = Literal["end", "stable"]
Arm = Literal["main", "fixed_source", "fixed_target"]


@dataclass(frozen=True)
class State:
    """Where a node starts: the state after `node`, the stable state before its anneal, or (None) the source itself.

    With no node, `scratch` says that the weights are fresh draws of the model's own initialisation.
    """

    node: str | None
    port: Port = "end"

    def __str__(self) -> str:
        return "source" if self.node is None else self.node + (".stable" if self.port == "stable" else "")


@dataclass(frozen=True)
class Node:
    """One stage of one arm. `before` and `after` are the model; they are equal for a train node."""

    name: str
    arm: Arm
    stage: str
    position: int
    start: State
    before: ModelGraph
    after: ModelGraph
    key: str

    @property
    def kind(self) -> Literal["train", "grow"]:
        """Whether this node trains or grows."""
        return "grow" if isinstance(self, GrowNode) else "train"


@dataclass(frozen=True)
class TrainNode(Node):
    """`steps` optimizer steps over one part of the data."""

    steps: int
    data: str
    training: Training
    sequence_length: int
    scratch: bool = False

    @property
    def tokens(self) -> int:
        """Training tokens of the whole node."""
        return self.steps * self.training.batch_tokens


@dataclass(frozen=True)
class GrowNode(Node):
    """One or more operators in a row; `data` and `training` feed utility scores and validation."""

    rewrites: tuple[Rewrite, ...]
    data: str | None
    training: Training

    @property
    def preserves(self) -> Preserves:
        """The claim of all operators together."""
        claim = Preserves.EXACTLY
        for rewrite in self.rewrites:
            claim = claim.worst(rewrite.preserves)
        return claim


@dataclass(frozen=True)
class GrowthGraph:
    """All nodes in an order in which they can run; `dag` has an edge per dependency with its `port`."""

    name: str
    source: ModelGraph
    nodes: tuple[TrainNode | GrowNode, ...]
    target: ModelGraph
    dag: nx.DiGraph[str] = field(compare=False, repr=False)

    def node(self, name: str) -> TrainNode | GrowNode:
        """The node called `name`."""
        return next(n for n in self.nodes if n.name == name)

    def grow_nodes(self) -> Iterator[GrowNode]:
        """The nodes that grow, in order."""
        return (n for n in self.nodes if isinstance(n, GrowNode))

    def keeps_stable(self, name: str) -> bool:
        """Whether some node starts from the stable state of `name`."""
        return any(n.start == State(name, "stable") for n in self.nodes)


def digest(*parts: Any) -> str:
    """A hash over JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

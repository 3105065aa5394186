"""A spec, with all points of its sweep and all baselines, to one growth graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from growc.diagnostics import fail
from growc.growth.arms import Arms, Pool
from growc.growth.graph import ArmPath, GrowNode, GrowthGraph, Root, TrainNode, digest
from growc.growth.names import names
from growc.spec import LoadedSpec
from growc.spec.baselines import MAIN
from growc.spec.load import SweptSpec
from growc.spec.origins import origins
from growc.spec.points import named
from growc.spec.schema import Spec
from growc.spec.stage_name import StageName


def build(loaded: LoadedSpec, roots: Sequence[Root], code: str) -> GrowthGraph:
    """The growth graph of a spec.

    Args:
        loaded: the spec, with the places of its values.
        roots: what the arms of each of its points start from.
        code: digest of the versions of what growc computes; a node's key depends on it.

    Raises:
        GrowcError: an operator cannot be applied where the spec puts it, or two points are the same.
    """
    import networkx as nx

    spec, points = loaded.spec, loaded.points
    data = digest(spec.data.model_dump(mode="json") if spec.data else None, spec.training.seed)
    pool = Pool(code, data)
    arms = [Arms(index, at.loaded, root, pool) for index, (at, root) in enumerate(zip(points, roots, strict=True))]
    for arm, positions in zip(arms, _positions([at.loaded.spec for at in points]), strict=True):
        arm.main(positions)
        for place, baseline in enumerate(arm.spec.baselines):
            arm.baseline(baseline, arm.loaded.span("baselines", place))
    _distinct(arms, points)

    called = names(pool, [at.point for at in points])
    nodes = {called[name].name: _final(pool, name, called, points) for name in pool.nodes}
    paths = tuple(
        ArmPath(at.point, name, tuple(called[each].name for each in path), arm.spec.training.seed, arm.root.model)
        for at, arm in zip(points, arms, strict=True)
        for name, path in arm.paths.items()
    )
    dag: nx.DiGraph[str] = nx.DiGraph()
    for node in nodes.values():
        dag.add_node(node.name)
        for state in node.starts:
            if state.node is not None:
                dag.add_edge(state.node, node.name, port=state.port)
    places = {name: place for place, name in enumerate(nodes)}
    return GrowthGraph(
        spec.name,
        roots[0].model,
        tuple(nodes[name] for name in nx.lexicographical_topological_sort(dag, key=places.__getitem__)),
        nodes[paths[0].nodes[-1]].after,
        paths,
        {called[name].name: uses for name, uses in _uses(pool, arms).items()},
        tuple(axis.name for axis in loaded.axes if axis.is_seed),
        dag,
    )


def _positions(specs: Sequence[Spec]) -> Iterator[list[int]]:
    """The stages that each point runs.

    These are all, but for those that are a part of other points' chains and lead nowhere in this one: a sweep over
    `from` trains the later stages of a trunk only for the arms that come through them.
    """
    chains = [_chain(spec, len(spec.stages) - 1) for spec in specs]
    chained = {spec.stages[at].name for spec, chain in zip(specs, chains, strict=True) for at in chain}
    for spec, chain in zip(specs, chains, strict=True):
        branches = [at for at, stage in enumerate(spec.stages) if stage.name not in chained]
        yield sorted(chain.union(*(_chain(spec, at) for at in branches)))


def _chain(spec: Spec, end: int) -> set[int]:
    """The positions of the stage at `end` and of all that lead to it."""
    positions = {stage.name: position for position, stage in enumerate(spec.stages)}
    chain, left = {end}, [end]
    while left:
        parents = {positions[o.stage] for o in origins(spec, left.pop()) if o.stage is not None} - chain
        chain |= parents
        left += parents
    return chain


def _distinct(arms: Sequence[Arms], points: Sequence[SweptSpec]) -> None:
    """A point that does what another does would count it twice."""
    seen: dict[tuple[str, ...], SweptSpec] = {}
    for arm, at in zip(arms, points, strict=True):
        other = seen.setdefault(arm.paths[MAIN], at)
        if other is not at:
            pairs = zip(other.point, at.point, at.places, strict=True)
            place = next(place for before, now, place in pairs if before != now)
            fail("GROW314", f"{named(at.point)} trains and grows just as {named(other.point)} does",
                 help="remove one of the values, or let it change the arm", span=place)  # fmt: skip


def _final(pool: Pool, name: str, called: dict[str, StageName], points: Sequence[SweptSpec]) -> TrainNode | GrowNode:
    """A node under the name that users see."""
    node, mine = pool.nodes[name], called[name]
    start, *others = (replace(s, node=called[s.node].name if s.node else None) for s in node.starts)
    if isinstance(node, GrowNode):
        node = replace(node, others=tuple(others))
    sharing = dict.fromkeys(index for index, _ in pool.members[name])
    specs = tuple(points[index].loaded for index in sharing)
    return replace(node, name=mine.name, arm=mine.arm, point=mine.point, start=start, specs=specs)


def _uses(pool: Pool, arms: Sequence[Arms]) -> Counter[str]:
    """For how many arms each node runs; a node on no arm's path runs for every point that has it."""
    uses = Counter(name for arm in arms for path in arm.paths.values() for name in path)
    branches = {name: len(members) for name, members in pool.members.items() if name not in uses}
    uses.update(branches)
    return uses

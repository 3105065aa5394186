"""Which name every node of a growth graph gets: that of its stage, its arm, and the point that is its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from growc.growth.arms import Pool
from growc.spec.baselines import MAIN
from growc.spec.points import Point, named
from growc.spec.stage_name import StageName
from growc.spec.sweep import LONGEST_NAME


def names(pool: Pool, points: Sequence[Point]) -> dict[str, StageName]:
    """The final names, by the provisional ones.

    Where the axes on which they agree leave two nodes alike, their names have the labels of the other axes, too
    (`arm=a+b/pretrain`), and at last the start of their keys.
    """
    axes = _varying(points)
    members = {name: [(points[index], arm) for index, arm in of] for name, of in pool.members.items()}
    found = {name: _called(pool.nodes[name].stage, of, axes, joined=False) for name, of in members.items()}
    for name in _alike(found):
        found[name] = _called(pool.nodes[name].stage, members[name], axes, joined=True)
    for name in _alike(found):
        called = found[name]
        point = _called(called.stage, members[name], axes, joined=False).point
        found[name] = StageName((*point, ("key", pool.nodes[name].key[:8])), called.arm, called.stage)
    return found


def _varying(points: Sequence[Point]) -> dict[str, list[str]]:
    """The axes that take several labels, with these."""
    labels = {axis: list(dict.fromkeys(label for _, label in pairs)) for axis, pairs in _by_axis(points)}
    return {axis: taken for axis, taken in labels.items() if len(taken) > 1}


def _by_axis(points: Sequence[Point]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(pairs[0][0], list(pairs)) for pairs in zip(*points, strict=True)]


def _called(
    stage: str, members: Sequence[tuple[Point, str]], axes: Mapping[str, Sequence[str]], *, joined: bool
) -> StageName:
    """A node that is a part of main arms is called after these alone."""
    arm = min((arm for _, arm in members), key=lambda arm: arm != MAIN)
    mine = [dict(point) for point, of in members if of == arm]
    point: list[tuple[str, str]] = []
    for axis, labels in axes.items():
        taken = [label for label in labels if any(each[axis] == label for each in mine)]
        if len(taken) == 1 or (joined and len(taken) < len(labels)):
            point.append((axis, "+".join(taken)))
    return StageName(tuple(point), arm, stage)


def _alike(found: Mapping[str, StageName]) -> list[str]:
    """The nodes whose names are not theirs alone, or too long for a folder."""
    count = Counter(called.name for called in found.values())
    return [name for name, called in found.items() if count[called.name] > 1 or len(named(called.point)) > LONGEST_NAME]

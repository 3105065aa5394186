"""What several arms of a sweep have alike, so that a plan of dozens of arms shows it once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from math import prod
from typing import TypeVar

from growc.plan.plan import Growth, InvariantRecord, Stage
from growc.spec.points import named
from growc.spec.stage_name import StageName

Each = TypeVar("Each")

LISTED = 4
"""Points that are listed one by one."""


def stages(planned: Iterable[Stage], growth: dict[str, Growth]) -> Iterator[Sequence[Stage]]:
    """Stages of one name that do the same at several points of a sweep, in the order of the first of each."""

    def does(stage: Stage) -> str:
        known = stage.model_copy(update={"name": StageName.read(stage.name).in_sweep, "start": ()})
        grown = growth[stage.name].model_copy(update={"stage": ""}) if stage.kind == "grow" else None
        return known.model_dump_json() + (grown.model_dump_json() if grown else "")

    return _grouped(planned, does)


def invariants(settled: Iterable[InvariantRecord]) -> Iterator[Sequence[InvariantRecord]]:
    """Invariants of which several points say the same."""
    return _grouped(
        settled, lambda one: one.model_copy(update={"stage": StageName.read(one.stage).in_sweep}).model_dump_json()
    )


def _grouped(items: Iterable[Each], key: Callable[[Each], Hashable]) -> Iterator[Sequence[Each]]:
    groups: dict[Hashable, list[Each]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return iter(groups.values())


def called(names: Sequence[str]) -> str:
    """One name for all: the stage and how many there are, or the only name."""
    return names[0] if len(names) == 1 else f"{StageName.read(names[0]).in_sweep} x{len(names)}"


def starts(names: Iterable[str]) -> str:
    """The states that stages start from, without their points."""
    return ", ".join(dict.fromkeys(StageName.read(name).in_sweep for name in names))


def points(names: Sequence[str]) -> str:
    """Where the stages are in the sweep: `seed=0|1|2,arm=free` where that says it all, else a list."""
    known = list(dict.fromkeys(StageName.read(name).point for name in names))
    found = [named(point) or "all others" for point in known]
    same_axes = len({tuple(axis for axis, _ in point) for point in known}) == 1
    if same_axes and known[0]:
        axes = {axes[0][0]: list(dict.fromkeys(label for _, label in axes)) for axes in zip(*known, strict=True)}
        if prod(map(len, axes.values())) == len(found):
            return ",".join(f"{axis}={'|'.join(labels)}" for axis, labels in axes.items())
    more = f" and {len(found) - LISTED + 1} more" if len(found) > LISTED else ""
    return "; ".join(found[: LISTED - 1] if more else found) + more

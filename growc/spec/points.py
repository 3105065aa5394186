"""The points of a sweep: a choice of every axis, and the spec that is meant there, wholly validated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from growc.diagnostics import Diagnostic, GrowcError, Span
from growc.spec.nodes import MapNode, Node, spans
from growc.spec.overrides import replaced
from growc.spec.schema import Spec
from growc.spec.sweep import SECTION, Axis, Choice

Point = tuple[tuple[str, str], ...]
"""Where in a sweep: pairs of an axis and a label, in the order of the axes; empty without a sweep."""


@dataclass(frozen=True)
class Chosen:
    """A point with the spec that is meant there; `places` are those of its choices, axis by axis."""

    point: Point
    spec: Spec
    root: MapNode
    places: tuple[Span, ...]


def named(point: Point) -> str:
    """A point in words, as it stands in the names of stages: `seed=0,arm=free`."""
    return ",".join(f"{axis}={label}" for axis, label in point)


def expand(
    root: MapNode, axes: Sequence[Axis], judge: Callable[[MapNode], tuple[Spec | None, list[Diagnostic]]]
) -> tuple[tuple[Chosen, ...], list[Diagnostic]]:
    """Every point of a sweep, and what is wrong with the specs that are meant there.

    Args:
        root: the spec, in which nothing is wrong without the sweep.
        axes: of the sweep.
        judge: makes a spec of a text, and says what is wrong with it.
    """
    plain = replace(root, entries={key: entry for key, entry in root.entries.items() if key != SECTION})

    def meant(choices: Sequence[Choice]) -> tuple[MapNode, Spec | None, list[Diagnostic]]:
        try:
            root = _with(plain, choices)
        except GrowcError as error:
            return plain, None, list(error.diagnostics)
        return root, *judge(root)

    by_itself: dict[Span, list[Diagnostic]] = {}

    def guilty(fault: Diagnostic, choices: Sequence[Choice]) -> Choice:
        """The choice that is wrong by itself, with the other axes as the spec has them, else the last one."""
        for choice in choices:
            if choice.span not in by_itself:
                by_itself[choice.span] = meant([choice])[2]
        return next((choice for choice in choices if fault in by_itself[choice.span]), choices[-1])

    points: list[Chosen] = []
    wrong: dict[Diagnostic, list[Point]] = {}
    for choices in product(*(axis.choices for axis in axes)):
        point = tuple((axis.name, choice.label) for axis, choice in zip(axes, choices, strict=True))
        text, spec, found = meant(choices)
        if spec is not None:
            points.append(Chosen(point, spec, text, tuple(choice.span for choice in choices)))
        own = {span for choice in choices for span in _places(choice)}
        for fault in found:
            if fault.span not in own:
                fault = replace(fault, span=guilty(fault, choices).span)
            wrong.setdefault(fault, []).append(point)
    return tuple(points), [_at(fault, where) for fault, where in wrong.items()]


def _with(root: Node, choices: Sequence[Choice]) -> MapNode:
    for choice in choices:
        for setting in choice.settings:
            root = replaced(root, setting.steps, setting.value)
    assert isinstance(root, MapNode)
    return root


def _places(choice: Choice) -> set[Span]:
    """The places of all that a choice sets."""
    steps = {step.span for setting in choice.settings for step in setting.steps}
    return steps.union(*({span for _, span in spans(setting.value)} for setting in choice.settings))


def _at(fault: Diagnostic, points: Sequence[Point]) -> Diagnostic:
    """The fault, with the points at which it is one."""
    more = f" and {len(points) - 1} more points" if len(points) > 2 else ""
    shown = points[:1] if more else points
    return replace(fault, message=f"{fault.message} (at {' and at '.join(map(named, shown))}{more})")

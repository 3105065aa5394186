"""`sweep:` as the author writes it: axes, each with labelled choices of values by path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from growc.diagnostics import Diagnostic, Span
from growc.spec.nodes import Entry, ListNode, MapNode, Node, Scalar, child
from growc.spec.overrides import SYNTAX, Step, path_at_start
from growc.spec.wording import quoted

SECTION = "sweep"

MOST_POINTS = 256
LONGEST_LABEL = 64
LONGEST_NAME = 200
"""Characters that all axes and labels of a point may have together: they name folders."""

SAME_FOR_ALL = {
    "data": "all arms are trained and validated on the same text",
    "growth": "one file is in one version of the language",
    "kernels": "all arms run by the same code",
    "name": "all arms belong to one plan",
    "parallel": "all arms run on the same devices",
    SECTION: "a sweep cannot change itself",
}
"""The sections that no axis may touch, and why."""

SEED = "training.seed"


@dataclass(frozen=True)
class Setting:
    """One value, and where in the spec it belongs."""

    path: str
    steps: tuple[Step, ...]
    value: Node


@dataclass(frozen=True)
class Choice:
    """What one label of an axis sets; `span` is the place of the label, or of the value that it stands for."""

    label: str
    settings: tuple[Setting, ...]
    span: Span


@dataclass(frozen=True)
class Axis:
    """One entry of the sweep."""

    name: str
    choices: tuple[Choice, ...]
    span: Span

    @property
    def is_seed(self) -> bool:
        """Whether the choices differ in the seed alone."""
        return {setting.path for choice in self.choices for setting in choice.settings} == {SEED}


def read_axes(root: MapNode) -> tuple[tuple[Axis, ...], list[Diagnostic]]:
    """The axes of a spec's sweep, and what is wrong with them; the section has the shape that the schema asks."""
    section = child(root, SECTION)
    if not isinstance(section, MapNode):
        return (), []
    found: list[Diagnostic] = []
    axes = tuple(_axis(key, entry, found) for key, entry in section.entries.items())
    found += _unclear(axes)
    points = prod(len(axis.choices) for axis in axes)
    if points > MOST_POINTS:
        message = f"the sweep has {points:,} points, more than {MOST_POINTS}"
        help = "leave values out, or name the combinations that matter with labels on one axis"
        found.append(Diagnostic("GROW142", message, help, section.span))
    return axes, found


def _axis(key: str, entry: Entry, found: list[Diagnostic]) -> Axis:
    match entry.node:
        case ListNode(items):
            steps = _steps(key, entry.key, found)
            name = steps[-1].text if steps else key
            choices = [Choice(label(item), (Setting(key, steps, item),), item.span) for item in items]
        case MapNode(labels):
            name = key
            choices = [Choice(clean(text), _settings(of.node, found), of.key) for text, of in labels.items()]
        case Scalar():
            raise AssertionError("the schema lets no other axis pass")
    return Axis(clean(name), tuple(choices), entry.key)


def _settings(values: Node, found: list[Diagnostic]) -> tuple[Setting, ...]:
    assert isinstance(values, MapNode)
    return tuple(Setting(path, _steps(path, at.key, found), at.node) for path, at in values.entries.items())


def _steps(path: str, span: Span, found: list[Diagnostic]) -> tuple[Step, ...]:
    """The steps of a path; what is wrong with it goes to `found`."""
    steps, end = path_at_start(path, lambda _start, _length: span)
    if end < len(path) or not steps:
        message = f"{quoted(path)} is not the path of a value"
        found.append(Diagnostic("GROW140", message, f"{SYNTAX}; a name of your own has labels below it", span))
    elif why := SAME_FOR_ALL.get(steps[0].text):
        message = f"{quoted(steps[0].text)} cannot be swept: {why}"
        found.append(Diagnostic("GROW141", message, "write a spec for each instead", span))
    return tuple(steps)


def _unclear(axes: Sequence[Axis]) -> Iterator[Diagnostic]:
    """Names that are taken already, or too long."""
    yield from _repeated([(axis.name, axis.span) for axis in axes], "two axes are called")
    for axis in axes:
        labels = [(choice.label, choice.span) for choice in axis.choices]
        yield from _repeated(labels, f"two values of {quoted(axis.name)} are shown as")
    longest = sum(len(axis.name) + 2 + max(len(choice.label) for choice in axis.choices) for axis in axes)
    if longest > LONGEST_NAME:
        message = f"the names of points have up to {longest} characters, and become folders: at most {LONGEST_NAME}"
        yield Diagnostic("GROW143", message, _NAMED, axes[0].span)


_NAMED = "give the axis a name and labels: `NAME: {LABEL: {PATH: VALUE}, ...}`"


def _repeated(names: Sequence[tuple[str, Span]], what: str) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for name, span in names:
        if name in seen:
            yield Diagnostic("GROW143", f"{what} {quoted(name)}", _NAMED, span)
        seen.add(name)


def label(value: Node) -> str:
    """How a value is shown in the names of points: `0.001`, `b.stable`, `rule-greedy-cap-3`."""
    return clean("-".join(_words(value)))


def _words(value: Node) -> Iterator[str]:
    match value:
        case Scalar(None):
            yield "null"
        case Scalar(bool() as truth):
            yield str(truth).lower()
        case Scalar(other):
            yield str(other)
        case ListNode(items):
            for item in items:
                yield from _words(item)
        case MapNode(entries):
            for key, entry in entries.items():
                yield key
                yield from _words(entry.node)


def clean(text: str) -> str:
    """`text` with only the characters that any folder's name may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:LONGEST_LABEL] or "-"

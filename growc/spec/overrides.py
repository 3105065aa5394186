"""`--set path=value`: one value of the spec replaced or added, by the same YAML rules and the same schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from growc.diagnostics import Diagnostic, GrowcError, Span, fail
from growc.spec.compose import Origin
from growc.spec.nodes import Entry, ListNode, MapNode, Node, Scalar, child
from growc.spec.source import check_characters
from growc.spec.wording import described, guess, quoted
from growc.spec.yaml import parse

FILE = "--set"
"""The `file` of places inside overrides; the n-th `--set` of a command line is (from) its n-th line."""

_STEP = re.compile(
    r'(?P<dot>\.)?(?P<key>[^.\[\]="\s]+)|\[(?P<inside>[^\[\]="]+)\]|\["(?P<quoted>[^"]+)"\]',
)
SYNTAX = "a path is stages[1].grow[0].factor, or stages[NAME] for a stage's name"


@dataclass(frozen=True)
class Step:
    """One step of a path. In brackets it may be an index, or the name of a stage."""

    text: str
    bracketed: bool
    span: Span


def text_of(overrides: Sequence[str]) -> str:
    """The text that places with the file `--set` are in."""
    return "\n".join(overrides)


def apply(root: Node, overrides: Sequence[str]) -> tuple[Node, list[Diagnostic]]:
    """The spec with each override applied in turn, and what is wrong with the overrides."""
    found: list[Diagnostic] = []
    line = 1
    for override in overrides:
        try:
            steps, value, wrong = _read(override, line)
            found += wrong
            root = replaced(root, steps, value)
        except GrowcError as error:
            found += error.diagnostics
        line += len(re.split("\r\n|\r|\n", override))
    return root, found


def _read(override: str, line: int) -> tuple[list[Step], Node, list[Diagnostic]]:
    check_characters(override, Span(FILE, line, 1))
    steps, position = path_at_start(override, lambda start, length: Span(FILE, line, start + 1, length))
    if not steps or override[position : position + 1] != "=":
        message = f"{quoted(override)} is not path=value"
        fail("GROW020", message, help=f"write --set PATH=VALUE; {SYNTAX}", span=Span(FILE, line, position + 1))
    value, wrong = parse(override[position + 1 :], Origin(FILE, line, position + 2))
    return steps, value, wrong


def path_at_start(text: str, place: Callable[[int, int], Span]) -> tuple[list[Step], int]:
    """The steps of the path that `text` starts with, none if there is no path, and where in `text` they end.

    A key that is a path itself, as those of a sweep, stands in brackets and quotes: `sweep["training.seed"]`.

    Args:
        text: a path, with anything after it.
        place: the place of a part of `text`, by its start and its length.
    """
    steps: list[Step] = []
    position = 0
    while match := _STEP.match(text, position):
        group = match.lastgroup
        assert group is not None
        bracketed = group != "key"
        if position == 0 and bracketed:
            break
        if not bracketed and bool(match["dot"]) == (position == 0):
            break
        steps.append(Step(match[group], bracketed, place(match.start(group), len(match[group]))))
        position = match.end()
    return steps, position


def replaced(node: Node, steps: Sequence[Step], value: Node) -> Node:
    """`node` with the value at `steps` replaced; mappings on the way are made where there is nothing.

    Raises:
        GrowcError: the path leads through nothing (GROW021).
    """
    if not steps:
        return value
    step, *rest = steps
    match node:
        case ListNode(items):
            index = _index(node, step)
            changed = replaced(items[index], rest, value)
            return ListNode((*items[:index], changed, *items[index + 1 :]), node.span)
        case MapNode(entries):
            old = entries.get(step.text)
            below = old.node if old else Scalar(None, step.span)
            return MapNode({**entries, step.text: Entry(step.span, replaced(below, rest, value))}, node.span)
        case Scalar(None) if not (step.bracketed and step.text.isdecimal()):
            return MapNode({step.text: Entry(step.span, replaced(node, rest, value))}, step.span)
        case _:
            message = f"{quoted(step.text)} cannot be set in what is {described(node)}"
            raise _refusal(step, message, SYNTAX)


def _index(node: ListNode, step: Step) -> int:
    """The item that a step means: by its index from 0, or by its `name`."""
    count = len(node.items)
    if step.text.isdecimal():
        # Numbers of more than a few digits are past any list, and Python refuses to read very long ones.
        if len(step.text) > 9 or int(step.text) >= count:
            have = f"it has {count}, counted from 0" if count else "it is empty"
            raise _refusal(step, f"the list has no item {quoted(step.text)}", have)
        return int(step.text)
    names = [name.value if isinstance(name := child(item, "name"), Scalar) else None for item in node.items]
    if step.text not in names:
        known = [name for name in names if isinstance(name, str)]
        raise _refusal(step, f"nothing in the list is called {quoted(step.text)}", guess(step.text, known) or SYNTAX)
    return names.index(step.text)


def _refusal(step: Step, message: str, help: str) -> GrowcError:
    return GrowcError([Diagnostic("GROW021", message, help, step.span)])

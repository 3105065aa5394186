"""Values with their places: the immutable tree that a YAML text becomes, and the ways to walk it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from growc.diagnostics import Span

Plain = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One text, number, truth value or null; a broken one has its diagnostic, and must cause no second."""

    value: bool | int | float | str | None
    span: Span
    broken: bool = False


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list. Aliases make nodes shared, so a node may be reached by several paths."""

    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key: value` of a mapping, with the key's own place."""

    key: Span
    node: Node


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping with text keys, in the order written; merged keys come after the mapping's own."""

    entries: Mapping[str, Entry]
    span: Span


Node = Scalar | ListNode | MapNode


def plain(node: Node) -> Plain:
    """The value without places; nothing in it is shared, so it may be changed freely."""
    match node:
        case Scalar(value):
            return value
        case ListNode(items):
            return [plain(item) for item in items]
        case MapNode(entries):
            return {key: plain(entry.node) for key, entry in entries.items()}


def child(node: Node, step: str | int) -> Node | None:
    """The node one step below, if there is one."""
    match node, step:
        case MapNode(entries), str() if step in entries:
            return entries[step].node
        case ListNode(items), int() if 0 <= step < len(items):
            return items[step]
        case _:
            return None


def nearest(root: Node, path: Path) -> Node:
    """The node at `path`, or the innermost one on the way there."""
    node = root
    for step in path:
        below = child(node, step)
        if below is None:
            break
        node = below
    return node


def spans(root: Node, path: Path = ()) -> Iterator[tuple[Path, Span]]:
    """Every value's path and place, parents first."""
    yield path, root.span
    if isinstance(root, ListNode):
        for index, item in enumerate(root.items):
            yield from spans(item, (*path, index))
    elif isinstance(root, MapNode):
        for key, entry in root.entries.items():
            yield from spans(entry.node, (*path, key))

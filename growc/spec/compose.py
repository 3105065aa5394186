"""PyYAML's composer with YAML 1.2 scalars, bounded in nodes and depth while it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from yaml import MarkedYAMLError, ScalarNode, SequenceNode
from yaml import Node as Composed
from yaml.composer import Composer
from yaml.error import Mark
from yaml.events import AliasEvent, ScalarEvent
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from growc.diagnostics import Span, fail
from growc.spec.scalars import MAP, SEQ, STR, tag_of
from growc.spec.wording import syntax_error

MAX_NODES = 20_000
MAX_DEPTH = 64


@dataclass(frozen=True)
class Origin:
    """Where a text begins in the file that it is part of: at (1, 1), or further on for a `--set` value."""

    file: str
    line: int = 1
    column: int = 1

    def span(self, start: Mark, end: Mark | None = None) -> Span:
        """The place of `start`, as wide as up to `end` if that is on the same line."""
        length = end.column - start.column if end is not None and end.line == start.line else 1
        column = start.column + (self.column if start.line == 0 else 1)
        return Span(self.file, self.line + start.line, column, max(length, 1))


def compose(text: str, origin: Origin) -> Composed | None:
    """The one document in `text` (already free of unprintable characters); None if there is no value in it.

    Raises:
        GrowcError: the text is no YAML, or is too large or too deep.
    """
    composer = _Composer(text, origin)
    try:
        return composer.get_single_node()
    except MarkedYAMLError as error:
        mark, code, message, help = syntax_error(error)
        fail(code, message, help=help, span=origin.span(mark))
    except (ValueError, OverflowError):
        # PyYAML calls chr() and int() unguarded: "\UFFFFFFFF", or a %YAML version of thousands of digits.
        span = origin.span(composer.get_mark())
        fail(
            "GROW004",
            "this escape is outside what YAML can say",
            help="the last one is \\U0010FFFF",
            span=span,
        )


def bound(nodes: int, depth: int, span: Span) -> None:
    """Refuse a document that is larger or deeper than any spec is.

    Raises:
        GrowcError: it is.
    """
    if nodes > MAX_NODES:
        message = f"the file holds more than {MAX_NODES:,} values once its aliases are expanded"
        fail("GROW012", message, help="a value counts each time an alias repeats it; repeat less", span=span)
    if depth > MAX_DEPTH:
        message = f"values are nested more than {MAX_DEPTH} deep"
        fail("GROW012", message, help="nothing in the language is that deep", span=span)


class _Composer(Reader, Scanner, Parser, Composer):
    def __init__(self, text: str, origin: Origin) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        self._origin = origin
        self._depth = 0
        self._nodes = 0
        self._complete: set[int] = set()

    def compose_node(self, parent: Composed | None, index: Any) -> Composed | None:
        event = self.peek_event()
        span = self._origin.span(event.start_mark, event.end_mark)
        if isinstance(event, AliasEvent):
            target = self.anchors.get(event.anchor)
            if target is not None and id(target) not in self._complete:
                message = f"`*{event.anchor}` stands inside the value that it repeats"
                fail("GROW011", message, help="a value cannot contain itself", span=span)
        if isinstance(event, ScalarEvent) and event.tag == "!":
            event.tag = STR  # in YAML 1.2 a bare `!` makes a text of what follows; PyYAML ignores it
        self._nodes += 1
        self._depth += 1
        bound(self._nodes, self._depth, span)
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._complete.add(id(node))
        return node

    def descend_resolver(self, current_node: Composed | None, current_index: Any) -> None:
        """PyYAML can make a tag depend on the path; here none does."""

    def ascend_resolver(self) -> None:
        """The other half of `descend_resolver`."""

    def resolve(self, kind: type[Composed], value: str, implicit: tuple[bool, bool]) -> str:
        """The tag of a node without one; `implicit[0]` says that a scalar is plain, that is, not quoted."""
        if kind is ScalarNode:
            return tag_of(value) if implicit[0] else STR
        return SEQ if kind is SequenceNode else MAP

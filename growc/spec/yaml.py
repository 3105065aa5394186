"""Strict YAML 1.2 with places: text -> nodes that know their line and column.

What PyYAML leaves open is closed here: duplicate keys, keys that are no text, tags, several documents,
recursive or exploding aliases, deep nesting, and the scalars of YAML 1.1. Every refusal is a `Diagnostic`.
"""

from __future__ import annotations

from collections.abc import Iterator

from yaml import MappingNode, ScalarNode, SequenceNode
from yaml import Node as Composed

from growc.diagnostics import Diagnostic, Span
from growc.spec.compose import Origin, bound, compose
from growc.spec.nodes import Entry, ListNode, MapNode, Node, Scalar
from growc.spec.scalars import FLOAT, INT, MAP, MERGE, SEQ, STR, tag_of, value_of
from growc.spec.wording import quoted


def parse(text: str, origin: Origin) -> tuple[Node, list[Diagnostic]]:
    """The value of one YAML document, and what is wrong with it as far as reading could go on.

    Raises:
        GrowcError: nothing could be read: no YAML, several documents, or too large.
    """
    composed = compose(text, origin)
    if composed is None:
        return Scalar(None, Span(origin.file, origin.line, origin.column)), []
    builder = _Builder(origin)
    return builder.build(composed), builder.diagnostics


class _Builder:
    """From PyYAML's nodes to ours: an alias becomes a shared node, a merge becomes entries."""

    def __init__(self, origin: Origin) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._origin = origin
        self._built: dict[int, Node] = {}
        self._extent: dict[int, tuple[int, int]] = {}
        self._merged = 0

    def build(self, composed: Composed) -> Node:
        if id(composed) not in self._built:
            node = self._node(composed, self._span(composed))
            below = [self._extent[id(n)] for n in _children(node)]
            size = 1 + sum(nodes for nodes, _ in below)
            height = 1 + max((depth for _, depth in below), default=0)
            bound(size, height, node.span)
            self._built[id(composed)] = node
            self._extent[id(node)] = size, height
        return self._built[id(composed)]

    def _node(self, composed: Composed, span: Span) -> Node:
        match composed:
            case ScalarNode():
                return self._scalar(composed, span)
            case SequenceNode(tag=tag) if tag == SEQ:
                return ListNode(tuple(self.build(item) for item in composed.value), span)
            case MappingNode(tag=tag) if tag == MAP:
                return MapNode(self._entries(composed), span)
            case _:
                return self._refused_tag(composed.tag, span)

    def _scalar(self, composed: ScalarNode, span: Span) -> Scalar:
        tag, text = composed.tag, composed.value
        # An explicit tag must fit the text, as `!!int 3` does; `!!float 3` is 3.0.
        fits = tag in (STR, MERGE, tag_of(text)) or (tag, tag_of(text)) == (FLOAT, INT)
        if not fits:
            return self._refused_tag(tag, span)
        try:
            # PyYAML leaves JSON's pairs of escapes ("\ud83d\ude00") as two halves; one half is no character.
            whole = text.encode("utf-16", "surrogatepass").decode("utf-16")
            return Scalar(value_of(tag, whole), span)
        except UnicodeDecodeError:
            self._refuse("GROW003", "half of a surrogate pair is not a character", "write \\U and eight digits", span)
        except ValueError as error:
            self._refuse("GROW013", str(error), "write it in quotes if it is a text", span)
        return Scalar(None, span, broken=True)

    def _entries(self, composed: MappingNode) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merges: list[MapNode] = []
        merge: Span | None = None
        for key_node, value_node in composed.value:
            key = self._span(key_node)
            value = self.build(value_node)
            if isinstance(key_node, ScalarNode) and key_node.tag == MERGE:
                if merge is not None:
                    self._refuse_duplicate("<<", key, merge, "merge a list of mappings instead: `<<: [*a, *b]`")
                else:
                    merge = key
                    merges.extend(self._merge_sources(value))
                continue
            name = self.build(key_node)
            match name:
                case Scalar(str() as text):
                    if text in entries:
                        self._refuse_duplicate(text, key, entries[text].key, "remove one")
                    else:
                        entries[text] = Entry(key, value)
                case Scalar(broken=True):
                    pass
                case _:
                    written = "this key is no text"
                    if isinstance(key_node, ScalarNode) and key_node.value:
                        written = f"the key {quoted(key_node.value)} is no text"
                    self._refuse("GROW007", written, "put it in quotes", key)
        # The mapping's own keys win, then the earlier of the merged ones.
        for source in merges:
            self._merged += len(source.entries)
            bound(self._merged, 0, source.span)
            for text, entry in source.entries.items():
                entries.setdefault(text, entry)
        return entries

    def _merge_sources(self, value: Node) -> Iterator[MapNode]:
        for source in value.items if isinstance(value, ListNode) else (value,):
            if isinstance(source, MapNode):
                yield source
            else:
                help = "give `<<` an alias of a mapping, or a list of such"
                self._refuse("GROW010", "only mappings can be merged", help, source.span)

    def _refused_tag(self, tag: str, span: Span) -> Scalar:
        short = tag.replace("tag:yaml.org,2002:", "!!")
        self._refuse("GROW009", f"the tag {quoted(short)} means nothing here", "remove it", span)
        return Scalar(None, span, broken=True)

    def _refuse_duplicate(self, text: str, second: Span, first: Span, what: str) -> None:
        help = f"the first is on line {first.line}; {what}"
        self._refuse("GROW006", f"the key {quoted(text)} stands here a second time", help, second)

    def _refuse(self, code: str, message: str, help: str, span: Span) -> None:
        self.diagnostics.append(Diagnostic(code, message, help, span))

    def _span(self, composed: Composed) -> Span:
        return self._origin.span(composed.start_mark, composed.end_mark)


def _children(node: Node) -> list[Node]:
    match node:
        case Scalar():
            return []
        case ListNode(items):
            return list(items)
        case MapNode(entries):
            return [entry.node for entry in entries.values()]

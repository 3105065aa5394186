"""Pydantic's errors as diagnostics: plain words, and the place in the user's text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from growc.diagnostics import Diagnostic, Span
from growc.spec.known import keys_at, variants_at
from growc.spec.nodes import MapNode, Node, Path, Scalar, child
from growc.spec.scalars import FLOAT, INT, tag_of
from growc.spec.wording import described, guess, listed, quoted

_KINDS = {
    "int_type": ("a whole number", "write a whole number"),
    "float_type": ("a number", "write a number"),
    "string_type": ("a text", "put it in quotes if it is meant as a text"),
    "bool_type": ("`true` or `false`", "write `true` or `false`"),
    "tuple_type": ("a list", "write `[...]`, or one line with `- ` for each item"),
    "list_type": ("a list", "write `[...]`, or one line with `- ` for each item"),
    "dict_type": ("a mapping", "write `key: value` pairs"),
    "model_type": ("a mapping", "write `key: value` pairs"),
}
_CHOICES = ("literal_error", "enum")
_BOUNDS = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be finite",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must have the form {pattern}",
}


@dataclass(frozen=True)
class Located:
    """One of pydantic's errors with the innermost value of the spec that its location reaches."""

    error: ErrorDetails
    node: Node
    key: Span | None
    path: Path

    @property
    def kind(self) -> str:
        """Pydantic's name of the error, or a code of ours."""
        return self.error["type"]

    @property
    def context(self) -> Mapping[str, Any]:
        """What the error is about: limits, choices, texts."""
        return self.error.get("ctx", {})

    @property
    def is_choice_or_kind(self) -> bool:
        """Whether the value was refused for what it is; such an error may be one branch of a union."""
        return self.kind in _KINDS or self.kind in _CHOICES

    @property
    def thing(self) -> str:
        """The value's name, as `--set` would write its last steps."""
        name = ""
        for step in reversed(self.path):
            if isinstance(step, str):
                return quoted(step + name)
            name = f"[{step}]{name}"
        return "the spec"


def locate(error: ErrorDetails, root: Node) -> Located:
    """Walk an error's location, but for steps that the spec does not have (variants, missing keys)."""
    node, key, path = root, None, ()
    for step in error["loc"]:
        if (below := child(node, step)) is not None:
            key = node.entries[str(step)].key if isinstance(node, MapNode) else None
            node, path = below, (*path, step)
    return Located(error, node, key, path)


def diagnostics(errors: Sequence[Located], root: Node) -> list[Diagnostic]:
    """One diagnostic for each value that is wrong, however many branches of a union refused it."""
    inner = {e.path[:length] for e in errors for length in range(len(e.path))}
    refused = {e.path for e in errors if not e.is_choice_or_kind}
    groups: dict[Path, list[Located]] = {}
    found: list[Diagnostic] = []
    for error in errors:
        if isinstance(error.node, Scalar) and error.node.broken:
            continue
        if error.kind == "too_short" and error.path in inner:
            continue  # pydantic counts only the items that are right
        if not error.is_choice_or_kind:
            found.append(_explained(error, root))
        elif error.path not in inner and error.path not in refused:
            # An error that lies deeper, or is about size, comes from the branch of the union that was meant.
            groups.setdefault(error.path, []).append(error)
    return found + [_wrong_kind(group, root) for group in groups.values()]


def _explained(located: Located, root: Node) -> Diagnostic:
    node, thing, context = located.node, located.thing, located.context
    kind, location = located.kind, located.error["loc"]
    if kind.startswith("GROW"):
        span = located.key if location[-1:] == ("[key]",) else _key_or_value(located, context["keys"])
        return Diagnostic(kind, context["text"], context["help"], span)
    if kind == "extra_forbidden":
        known = keys_at(root, location[:-1])
        message = f"unknown key {quoted(str(location[-1]))}"
        return Diagnostic("GROW101", message, guess(str(location[-1]), known), located.key or node.span)
    if kind == "missing":
        key = str(location[-1])
        field = keys_at(root, location[:-1]).get(key)
        help = f"add `{key}:`" + (f", {field.description}" if field and field.description else "")
        return Diagnostic("GROW102", f"{thing} has no {quoted(key)}", help, node.span)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_variant(located, root)
    if kind in _BOUNDS:
        message = f"{thing} {_BOUNDS[kind].format_map(context)}"
        if isinstance(node, Scalar):
            message += f", but is {described(node)}"
        return Diagnostic("GROW104", message, _purpose(located, root), node.span)
    if kind in ("value_error", "assertion_error"):
        return Diagnostic("GROW107", f"{thing}: {context['error']}", _purpose(located, root), node.span)
    return Diagnostic("GROW107", f"{thing}: {located.error['msg']}", _purpose(located, root), node.span)


def _wrong_variant(located: Located, root: Node) -> Diagnostic:
    key = str(located.context["discriminator"]).strip("'")
    known = variants_at(root, located.error["loc"], key)
    value = child(located.node, key)
    if value is None:
        help = f"add {listed((f'{key}: {v}' for v in known), 'or')}"
        return Diagnostic("GROW102", f"{located.thing} has no {quoted(key)}", help, located.node.span)
    message = f"{quoted(key)} must be {listed(known, 'or')}, but is {described(value)}"
    return Diagnostic("GROW105", message, _near(value, known) or f"the other keys depend on {quoted(key)}", value.span)


def _wrong_kind(branches: list[Located], root: Node) -> Diagnostic:
    first = branches[0]
    node = first.node
    choices = [c for e in branches if e.kind in _CHOICES for c in _choices(e.context["expected"])]
    kinds = list(dict.fromkeys(_KINDS[e.kind] for e in branches if e.kind in _KINDS))
    expected = ([listed(choices, "or")] if choices else []) + [words for words, _ in kinds]
    message = f"{first.thing} must be {' or '.join(expected)}, but is {described(node)}"
    purpose = _purpose(first, root)
    if not kinds:
        return Diagnostic("GROW105", message, _near(node, choices) or purpose, node.span)
    help = _mended(node, {e.kind for e in branches}) or _near(node, choices) or kinds[0][1]
    return Diagnostic("GROW103", message, f"{help}; {purpose}", node.span)


def _mended(node: Node, kinds: set[str]) -> str:
    """What to write instead of a value of the wrong kind, where that can be told."""
    match node:
        case Scalar(None):
            return "give it a value, or remove the key"
        case Scalar(float() as number) if "int_type" in kinds and abs(number) < 2**53:
            return f"write {int(number // 1)} or {int(number // 1) + 1}"
        case Scalar(str() as text) if kinds & {"int_type", "float_type"}:
            bare = re.sub("[_,' ]", "", text)
            return f"write {bare}, without quotes or separators" if tag_of(bare) in (INT, FLOAT) else ""
        case _:
            return ""


def _near(node: Node, known: Sequence[str]) -> str:
    text = node.value if isinstance(node, Scalar) and isinstance(node.value, str) else ""
    suggestion = guess(text, known)
    return suggestion if suggestion.startswith("did you mean") else ""


def _choices(expected: str) -> list[str]:
    """The values in pydantic's "'a', 'b' or 'c'"."""
    return [quoted_text or bare for quoted_text, bare in re.findall(r"'([^']*)'|(\d+)", expected)]


def _purpose(located: Located, root: Node) -> str:
    """What the innermost key that the schema knows is for."""
    location = located.error["loc"]
    for position in range(len(location) - 1, -1, -1):
        name = location[position]
        if isinstance(name, str) and name in located.path:
            field = keys_at(root, location[:position]).get(name)
            if field and field.description:
                return f"{quoted(name)}: {field.description}"
    return "see `growc schema`"


def _key_or_value(located: Located, keys: Sequence[str]) -> Span:
    """The last of the keys in the text, or its value if that is short; without keys, the whole value."""
    entries = located.node.entries if isinstance(located.node, MapNode) else {}
    given = [entries[key] for key in keys if key in entries]
    if not given:
        return located.node.span
    last = max(given, key=lambda entry: entry.key)
    return last.node.span if isinstance(last.node, Scalar) else last.key

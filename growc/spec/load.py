"""From a file to a `Spec`, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import cast

from growc.diagnostics import Diagnostic, GrowcError, Span
from growc.spec.compose import Origin
from growc.spec.consistency import check
from growc.spec.nodes import MapNode, Node, Plain, nearest, plain, spans
from growc.spec.overrides import apply
from growc.spec.schema import Spec
from growc.spec.source import read
from growc.spec.validate import MOST, validate
from growc.spec.wording import described
from growc.spec.yaml import parse


@dataclass(frozen=True)
class LoadedSpec:
    """A spec with the text it came from; `values` are the plain values after overrides, without defaults."""

    spec: Spec
    path: Path
    text: str
    values: Mapping[str, Plain]
    node: Node

    @property
    def base_dir(self) -> Path:
        """The folder that relative paths in the spec start from."""
        return self.path.parent

    @cached_property
    def spans(self) -> dict[tuple[str | int, ...], Span]:
        """The place of every value, by its path."""
        return dict(spans(self.node))

    def span(self, *path: str | int) -> Span:
        """The place of the value at `path`, or of the nearest one around it."""
        return nearest(self.node, path).span


def load(path: Path, overrides: Sequence[str] = (), *, allow_code: bool = False) -> LoadedSpec:
    """Read, override, validate and cross-check a spec.

    Raises:
        GrowcError: with everything found wrong, in the order of the text.
    """
    text = read(path)
    loaded, found = _loaded(path, text, overrides, allow_code)
    if loaded is None or found:
        raise GrowcError(sorted(dict.fromkeys(found), key=lambda d: (_order(d.span), d.code)))
    return loaded


def _loaded(
    path: Path, text: str, overrides: Sequence[str], allow_code: bool
) -> tuple[LoadedSpec | None, list[Diagnostic]]:
    root, found = parse(text, Origin(str(path)))
    if not isinstance(root, MapNode):
        empty = described(root) == "empty"
        message = "the file holds no spec" if empty else f"a spec is a mapping, and this is {described(root)}"
        help = "start with `growth: 1` and `name: ...`"
        return None, [*found, Diagnostic("GROW014", message, help, root.span)]
    root, wrong = apply(root, overrides)
    assert isinstance(root, MapNode)
    spec, invalid = validate(root)
    found += wrong + invalid
    if spec is None:
        return None, found
    found += islice(check(spec, root, allow_code=allow_code), MOST)
    return LoadedSpec(spec, path, text, cast(dict[str, Plain], plain(root)), root), found


def _order(span: Span | None) -> tuple[bool, int, int]:
    """By place; overrides come after the file."""
    return (True, 0, 0) if span is None else (span.file == "--set", span.line, span.column)

"""From a file to a `Spec`, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import cast

from growc.diagnostics import Diagnostic, GrowcError, Span
from growc.spec.compose import Origin
from growc.spec.consistency import check
from growc.spec.nodes import MapNode, Node, Plain, nearest, plain, spans
from growc.spec.origins import unused
from growc.spec.overrides import apply
from growc.spec.points import Point, expand
from growc.spec.schema import Spec
from growc.spec.source import read
from growc.spec.sweep import Axis, read_axes
from growc.spec.validate import MOST, validate
from growc.spec.wording import described
from growc.spec.yaml import parse


@dataclass(frozen=True)
class LoadedSpec:
    """A spec with the text it came from; `values` are the plain values after overrides, without defaults.

    `axes` are those of its sweep; `swept` has the points, each a spec without a sweep of its own.
    """

    spec: Spec
    path: Path
    text: str
    values: Mapping[str, Plain]
    node: Node
    axes: tuple[Axis, ...] = ()
    swept: tuple[SweptSpec, ...] = ()

    @property
    def points(self) -> tuple[SweptSpec, ...]:
        """The specs to run: one for each point of the sweep, or this one."""
        return self.swept or (SweptSpec((), self, ()),)

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


@dataclass(frozen=True)
class SweptSpec:
    """What a spec says at one point of its sweep; `places` are those of the point's choices, axis by axis."""

    point: Point
    loaded: LoadedSpec
    places: tuple[Span, ...]


def load(path: Path, overrides: Sequence[str] = (), *, allow_code: bool = False, text: str | None = None) -> LoadedSpec:
    """Read, override, validate and cross-check a spec.

    Args:
        path: of the spec.
        overrides: what `--set` says.
        allow_code: whether the spec may name a model that brings code.
        text: of the spec, where it was read before, so that no file is needed at `path`.

    Raises:
        GrowcError: with everything found wrong, in the order of the text.
    """
    text = read(path) if text is None else text
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
    axes, unclear = read_axes(root)
    found += unclear
    loaded = LoadedSpec(spec, path, text, cast(dict[str, Plain], plain(root)), root, axes)
    if found:  # a spec that is wrong without its sweep is so at every point
        return loaded, found
    if axes:
        loaded, found = _swept(loaded, root, allow_code)
    return loaded, [*found, *unused([spec, *(at.loaded.spec for at in loaded.swept)], root)]


def _swept(loaded: LoadedSpec, root: MapNode, allow_code: bool) -> tuple[LoadedSpec, list[Diagnostic]]:
    """The same with every point of its sweep, and what is wrong there."""

    def judge(meant: MapNode) -> tuple[Spec | None, list[Diagnostic]]:
        spec, invalid = validate(meant)
        return spec, [*invalid, *(islice(check(spec, meant, allow_code=allow_code), MOST) if spec else ())]

    points, wrong = expand(root, loaded.axes, judge)
    swept = tuple(
        SweptSpec(
            at.point,
            LoadedSpec(at.spec, loaded.path, loaded.text, cast(dict[str, Plain], plain(at.root)), at.root),
            at.places,
        )
        for at in points
    )
    return replace(loaded, swept=swept), wrong


def _order(span: Span | None) -> tuple[bool, int, int]:
    """By place; overrides come after the file."""
    return (True, 0, 0) if span is None else (span.file == "--set", span.line, span.column)

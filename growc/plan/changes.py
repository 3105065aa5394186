"""What an operator does to tensors, in few lines: tensors of many layers that change alike share one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal, NamedTuple, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from growc.growth.rewrite import Rewrite, unchanged
from growc.operators import Operator
from growc.operators.facets import ReordersLayers
from growc.plan.plan import Change
from growc.programs import Source, describe

OLD = "old"
"""What a program calls the tensor of its own name in the source."""


class _Kind(NamedTuple):
    """What tensors on one line have in common; `name` has braces in the place of the layer."""

    symbol: Literal["+", "~", "-"]
    name: str
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None
    program: str


def changes(rewrite: Rewrite) -> Iterator[Change]:
    """The changes of one operator, in model order; what is carried over as it is has no line.

    Where layers move, those that are moved as they are share a line.
    """
    moved = _moved(rewrite)
    yield from _of_layers(rewrite, moved)
    layers: dict[_Kind, list[int]] = defaultdict(list)
    for name in dict.fromkeys((*rewrite.source.tensors, *rewrite.grown.tensors)):
        before, after = rewrite.source.tensors.get(name), rewrite.grown.tensors.get(name)
        if name in moved or (after is not None and unchanged(rewrite, name)):
            continue
        pattern, layer = _split(rewrite.grown.blocks.path, name)
        kind = _Kind(
            "-" if after is None else "~" if before else "+",
            pattern,
            before.shape if before else None,
            after.shape if after else None,
            _text(rewrite, name, layer) if after else "",
        )
        layers[kind].append(layer)
    for kind, found in layers.items():
        yield Change(
            symbol=kind.symbol,
            name=kind.name.replace("{}", f"{{{ranges(found)}}}"),
            count=len(found),
            before=kind.before,
            after=kind.after,
            program=kind.program,
        )


def _moved(rewrite: Rewrite) -> dict[str, tuple[int, int]]:
    """The tensors that hold what one of another layer held, with the layers now and before."""
    if not isinstance(rewrite.operator, ReordersLayers):
        return {}
    order, path = rewrite.operator.layer_order(rewrite.source), rewrite.grown.blocks.path
    found: dict[str, tuple[int, int]] = {}
    for name in rewrite.grown.tensors:
        layer = _split(path, name)[1]
        if layer >= 0 and isinstance(rewrite.programs[name], Source) and not unchanged(rewrite, name):
            found[name] = layer, order[layer]
    return found


def _of_layers(rewrite: Rewrite, moved: Mapping[str, tuple[int, int]]) -> Iterator[Change]:
    """What becomes of whole layers: one line for those that replace others, and one for new ones."""
    symbols: tuple[tuple[Literal["+", "~"], bool], ...] = (("~", True), ("+", False))
    for symbol, there in symbols:
        of = [name for name in moved if (name in rewrite.source.tensors) is there]
        if of:
            pairs = dict(moved[name] for name in of)
            yield Change(
                symbol=symbol,
                name=f"{rewrite.grown.blocks.path}.{{{ranges([*pairs])}}}",
                count=len(of),
                before=None,
                after=None,
                program=f"layers {ranges([*pairs.values()])} of the source",
            )


def _text(rewrite: Rewrite, name: str, layer: int) -> str:
    """The program in words; other tensors of the layer are called as they are inside of it."""
    inside = f"{rewrite.grown.blocks.path}.{layer}."
    return describe(rewrite.programs[name]).replace(name, OLD).replace(inside, "")


def _split(path: str, name: str) -> tuple[str, int]:
    """A tensor's name with `{}` for its layer, and the layer (-1 outside of the blocks)."""
    match = re.match(rf"({re.escape(path)}\.)(\d+)(\..*)", name) if path else None
    return (f"{match[1]}{{}}{match[3]}", int(match[2])) if match else (name, -1)


def ranges(layers: list[int]) -> str:
    """Layer numbers in short: `0-47`, `1,3`, `1-47 by 2`."""
    steps = {after - before for before, after in pairwise(layers)}
    if len(layers) > 2 and len(steps) == 1 and steps != {1}:
        return f"{layers[0]}-{layers[-1]} by {steps.pop()}"
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def settings(operator: Operator) -> str:
    """The settings of an operator on one line, defaults included where they name a choice."""
    shown = ((name, _setting(getattr(operator, name), field.default)) for name, field in _fields(operator))
    return ", ".join(f"{name} {text}" for name, text in shown if text)


def _fields(operator: Operator) -> Iterator[tuple[str, FieldInfo]]:
    yield from type(operator).model_fields.items()


def _setting(value: Any, default: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, BaseModel) or value != default:
        return _flow(value.model_dump(mode="json", exclude_none=True) if isinstance(value, BaseModel) else value)
    first = next(iter(value.model_dump(mode="json").values()))
    return first if isinstance(first, str) else ""


def _flow(value: Any) -> str:
    match value:
        case dict():
            inner = {str(k): v for k, v in cast(dict[Any, Any], value).items()}
            if len(inner) == 1:
                return _flow(*inner.values())
            return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in inner.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, cast(list[Any], value))) + "]"
        case float():
            return f"{value:g}"
        case _:
            return str(value)

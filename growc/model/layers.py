"""The repeated residual blocks of a model, and which of them are alike."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from torch import nn

from growc.anatomy.model_graph import Blocks

PER_LAYER = frozenset({"layer_idx", "training"})
"""Attributes that differ between equal blocks."""


def repeated_path(modules: Iterable[str]) -> str:
    """The path that most module names share up to their first number (`model.layers`); empty if none."""
    found = Counter(match[1] for name in modules if (match := re.match(r"(.*?)\.\d+(?:\.|$)", name)))
    return found.most_common(1)[0][0] if found else ""


def layer_of(path: str, name: str) -> int | None:
    """The layer that a module or tensor name lies in, or None outside of the repeated blocks."""
    match = re.match(rf"{re.escape(path)}\.(\d+)(?:\.|$)", name) if path else None
    return int(match[1]) if match else None


def in_layer(path: str, name: str, layer: int) -> str:
    """The same name in another layer; unchanged outside of the repeated blocks."""
    return re.sub(rf"^({re.escape(path)}\.)\d+(?=\.|$)", rf"\g<1>{layer}", name) if path else name


def in_first_alike(blocks: Blocks, name: str) -> str:
    """The same name in the first block that is built alike."""
    layer = layer_of(blocks.path, name)
    return name if layer is None else in_layer(blocks.path, name, blocks.letters.index(blocks.letters[layer]))


def blocks(model: nn.Module) -> Blocks:
    """Letter the blocks: equal ones share a letter, given out in order of appearance."""
    owners = (
        name for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None
    )
    path = repeated_path(owners)
    if not path:
        return Blocks(path, (), ())
    letters: dict[object, str] = {}
    kinds = tuple(_signature(child) for _, child in model.get_submodule(path).named_children())
    marks = tuple(hashlib.sha256(repr(kind).encode()).hexdigest()[:16] for kind in kinds)
    return Blocks(path, tuple(letters.setdefault(kind, _letter(len(letters))) for kind in kinds), marks)


def layers_shown(kinds: Sequence[object]) -> int:
    """How many of the first layers show every kind, and every position of the period in which kinds repeat."""
    first = max(map(kinds.index, kinds)) + 1
    periods = (p for p in range(2, len(kinds) // 2 + 1) if kinds[p:] == kinds[:-p])
    return max(first, next(periods, 1)) if first > 1 else 1


def _signature(block: nn.Module) -> tuple[object, ...]:
    """Class, tensor shapes, and the scalar attributes of every module inside (windows, switches, scales)."""
    tensors = tuple((name, tuple(tensor.shape)) for name, tensor in block.state_dict().items())
    scalars = tuple(
        (name, key, repr(item))
        for name, module in block.named_modules()
        for key, item in sorted(vars(module).items())
        if isinstance(item, int | float | str) and key not in PER_LAYER
    )
    return (type(block).__qualname__, tensors, scalars)


def _letter(index: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    return (_letter(index // 26 - 1) if index >= 26 else "") + chr(ord("A") + index % 26)

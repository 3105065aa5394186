"""Which rows of a tensor in memory a tensor on disk holds, found by saving numbered elements.

Folders hold what the hub does, and transformers maps between that and memory by joining, cutting and turning tensors.
What of it moves whole rows (dimension 0, an expert) can be moved as bytes. No table says so: every element of a small
stand-in gets a number of its own, `save_pretrained`'s conversion is run on it, and the numbers tell what went where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from growc.checkpoint.conversion import Storage

Pattern = tuple[int, ...]
"""The elements of a row of the stand-in, in the order in which a tensor on disk has them."""

SMALL = (4, 6, 2)
"""Lengths of the dimensions behind the first of a stand-in: different, so that turned ones show; even, to be cut."""


@dataclass(frozen=True, slots=True)
class RowSlice:
    """What a tensor on disk holds of the tensor `name` in memory: elements `pattern` of one row, or of all in turn."""

    name: str
    row: int | None
    pattern: Pattern


def held(storage: Storage, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, RowSlice | None]:
    """For every tensor on disk that has something of the tensors `shapes`: what, or None if rows are no unit in it.

    Args:
        storage: how they are stored.
        shapes: of some tensors in memory, by name, each with at least one dimension.

    Raises:
        RuntimeError, ValueError: the family's conversion asks for other sizes than a stand-in has.
    """
    numbered: dict[str, Tensor] = {}
    for number, (name, shape) in enumerate(shapes.items()):
        small = (shape[0], *SMALL[: len(shape) - 1])
        numbered[name] = (torch.arange(torch.Size(small).numel()) + (number << 40)).view(small)
    names = list(shapes)
    patterns: dict[Pattern, Pattern] = {}
    found: dict[str, RowSlice | None] = {}
    for disk, tensor in storage.stored(numbered).items():
        numbers: list[int] = tensor.reshape(-1).tolist()
        of = min(numbers) >> 40
        alone = max(numbers) >> 40 == of
        found[disk] = _decoded(names[of], numbered[names[of]], tensor, numbers, patterns) if alone else None
    return found


def _decoded(
    name: str, stand_in: Tensor, tensor: Tensor, numbers: list[int], patterns: dict[Pattern, Pattern]
) -> RowSlice | None:
    """What `tensor` holds of `stand_in`, by the numbers of its elements; equal patterns are one object."""
    rows, size = len(stand_in), stand_in[0].numel()
    places = [number & ((1 << 40) - 1) for number in numbers]
    if min(places) // size == max(places) // size:
        pattern = tuple(place % size for place in places)
        of_all = tensor.dim() == stand_in.dim()  # a model of one expert, which has kept the dimension for experts
        return RowSlice(name, None if of_all else places[0] // size, patterns.setdefault(pattern, pattern))
    pattern = tuple(places[: len(places) // rows])
    whole = len(tensor) == rows and places == [row * size + place for row in range(rows) for place in pattern]
    return RowSlice(name, None, patterns.setdefault(pattern, pattern)) if whole else None

"""From tensor programs to bytes: for every tensor of the grown folder, which bytes of the source's files it is.

What cannot be moved is named, to be computed: rows of a tensor in memory, or a few tensors whole where a family stores
them so that rows are no unit on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.blocks import Block, Row, blocks
from growc.checkpoint.conversion import Storage
from growc.checkpoint.dtypes import SAFETENSORS, TORCH
from growc.checkpoint.grown import Grown, Tensors, chain
from growc.checkpoint.origin import Origin, origin, stays
from growc.checkpoint.row_mapping import Pattern, RowSlice, held
from growc.checkpoint.source import FolderTensors
from growc.files.plan import Copied, Made, Part, PlannedTensor
from growc.growth.rewrite import Rewrite
from growc.programs import Source, sources

Place = tuple[str, int | None, Pattern]
"""What a tensor on disk holds: see `RowSlice`."""


@dataclass(frozen=True)
class Recipes:
    """The tensors of the grown folder by their name on disk, and what of them must be computed.

    `rows` are rows of tensors in memory, by name; `together` are names in memory that are computed whole and saved
    together. `held` says what each tensor on disk has of those in memory that changed.
    """

    tensors: dict[str, PlannedTensor]
    rows: dict[str, list[int]]
    together: list[tuple[str, ...]]
    held: Mapping[str, RowSlice | None]


def recipes(graph: ModelGraph, source: FolderTensors, grown: Grown, storage: Storage) -> Recipes:
    """What becomes of every byte.

    Args:
        graph: the source, traced.
        source: the folder's tensors.
        grown: its growths, chained.
        storage: how the grown folder will store its tensors.
    """
    steps = chain(grown)
    shapes = {name: info.shape for name, info in grown.rewrite.grown.tensors.items()}
    metas = {n: torch.empty(shape, dtype=grown.dtype(n), device="meta") for n, shape in shapes.items()}
    slots = storage.stored(metas)
    # What a later growth adds has no program in those before it.
    changed = {n for n in shapes if any(step.programs.get(n) != Source(n) for step in steps)}
    if otherwise := {n for n in storage.as_is ^ source.storage.as_is if shapes.get(n)}:
        changed |= otherwise & storage.changed(metas)
    holds = held(storage, {n: shapes[n] for n in shapes if n in changed})
    read = {n: graph.tensors[n].shape for n in sorted(_read(steps, changed))}
    had = {disk: hold for disk, hold in held(source.storage, read).items() if disk in source.weights.names}
    finder = _Finder(
        source,
        {(hold.name, hold.row, hold.pattern): disk for disk, hold in had.items() if hold is not None},
        blocks(had, {disk: _kind_size(source, disk) for disk in had}, _rows(read, source)),
        blocks(holds, {disk: _size(slots[disk]) for disk in holds}, _rows({n: shapes[n] for n in changed}, grown)),
        _origin(steps),
    )
    tensors: dict[str, PlannedTensor] = {}
    rows: dict[str, set[int]] = {}
    lost: set[str] = set()
    for disk, slot in slots.items():
        hold = holds.get(disk)
        found = finder.same(disk, slot) if disk not in holds else hold and finder.rows(hold, disk, slot, rows)
        if not found:
            lost.add(disk)
            found = (Made(_size(slot)),)
        tensors[disk] = PlannedTensor(disk, SAFETENSORS[slot.dtype], tuple(slot.shape), found)
    return Recipes(
        tensors,
        {name: sorted(which) for name, which in rows.items()},
        _together(storage, metas, lost),
        holds,
    )


def _read(steps: Sequence[Rewrite], changed: set[str]) -> set[str]:
    """Tensors of the source that the programs of `changed` read."""
    names = set(changed)
    for step in reversed(steps):
        names = {name for n in names for name in sources(step.programs[n])}
    return names


def _origin(steps: Sequence[Rewrite]) -> Origin:
    """Where rows come from, through all growths."""
    before: Origin = stays
    for step in steps:
        before = _through(step, before)
    return before


def _through(step: Rewrite, before: Origin) -> Origin:
    return lambda name, rows: origin(step.programs[name], rows, before)


def _together(storage: Storage, metas: Mapping[str, Tensor], lost: set[str]) -> list[tuple[str, ...]]:
    """The tensors in memory behind `lost` names on disk."""
    groups = storage.together(metas) if lost else []
    return [group for group in groups if lost & storage.stored({name: metas[name] for name in group}).keys()]


@dataclass(frozen=True)
class _Finder:
    """Finds bytes of the source's files.

    `places` says which tensor on disk holds what of those in memory; `before` and `after`, of which blocks the bytes of
    a row in memory consist on the source's disk, and on that of the grown folder.
    """

    source: FolderTensors
    places: Mapping[Place, str]
    before: Mapping[Row, Sequence[Block]]
    after: Mapping[Row, Sequence[Block]]
    origin: Origin

    def same(self, disk: str, slot: Tensor) -> tuple[Part, ...]:
        """The bytes of an unchanged tensor: that of the same name, or nothing if it is stored in another way."""
        return self._whole(disk, slot) if disk in self.source.weights.names else ()

    def rows(self, had: RowSlice, disk: str, slot: Tensor, computed: dict[str, set[int]]) -> tuple[Part, ...]:
        """The bytes of a tensor that holds one row of a tensor in memory, or all; adds to `computed` rows of others."""
        wanted = range(len(slot)) if had.row is None else (had.row,)
        size = _size(slot) // len(wanted)
        parts: list[Part] = []
        for row, came_from in zip(wanted, self.origin(had.name, wanted), strict=True):
            found: tuple[Part, ...] = ()
            if came_from:
                found = self._row(came_from, had, slot, size) or self._regrouped(came_from, had, disk, slot)
            if not found:
                computed.setdefault(had.name, set()).add(row)
            for part in found or (Made(size),):
                _append(parts, part)
        return tuple(parts)

    def _row(self, came_from: tuple[str, int], had: RowSlice, slot: Tensor, size: int) -> tuple[Part, ...]:
        """A row that lies in the source as it will in the grown folder."""
        name, row = came_from
        disk = self.places.get((name, row if had.row is not None else None, had.pattern))
        if disk is None or had.row is not None:
            return self._whole(disk, slot) if disk else ()
        dtype, shape = self.source.weights.kind(disk)
        alike = dtype == SAFETENSORS[slot.dtype] and shape[1:] == tuple(slot.shape[1:])
        return self.source.bytes(disk, row * size, size) if alike else ()

    def _regrouped(self, came_from: tuple[str, int], had: RowSlice, disk: str, slot: Tensor) -> tuple[Part, ...]:
        """A row that lies in the source in other blocks, each of them in one piece."""
        name, row = came_from
        wanted = next((one for one in self.after.get((had.name, had.row), ()) if one.disk == disk), None)
        alone = self.before.get((name, row))
        there = alone or self.before.get((name, None))
        if wanted is None or there is None:
            return ()
        parts: list[Part] = []
        for block in there:
            begin, end = max(block.begin, wanted.begin), min(block.end, wanted.end)
            if begin < end:
                first = 0 if alone else row * (block.end - block.begin)
                alike = self.source.weights.kind(block.disk)[0] == SAFETENSORS[slot.dtype]
                parts += self.source.bytes(block.disk, first + begin - block.begin, end - begin) if alike else ()
        return tuple(parts) if sum(part.length for part in parts) == wanted.end - wanted.begin else ()

    def _whole(self, disk: str, slot: Tensor) -> tuple[Part, ...]:
        alike = self.source.weights.kind(disk) == (SAFETENSORS[slot.dtype], tuple(slot.shape))
        return self.source.bytes(disk, 0, _size(slot)) if alike else ()


def _rows(shapes: Mapping[str, tuple[int, ...]], tensors: Tensors) -> dict[str, tuple[int, int]]:
    """How many rows every tensor in memory has, and the bytes of one."""
    return {n: (s[0], torch.Size(s[1:]).numel() * tensors.dtype(n).itemsize) for n, s in shapes.items()}


def _kind_size(source: FolderTensors, disk: str) -> int:
    dtype, shape = source.weights.kind(disk)
    return torch.Size(shape).numel() * TORCH[dtype].itemsize


def _append(parts: list[Part], part: Part) -> None:
    """Add a part, as one with the last where the two are neighbours."""
    match parts[-1] if parts else None, part:
        case Copied(file, start, length), Copied(other, begin, more) if file == other and start + length == begin:
            parts[-1] = Copied(file, start, length + more)
        case Made(length), Made(more):
            parts[-1] = Made(length + more)
        case _:
            parts.append(part)


def _size(slot: Tensor) -> int:
    return slot.numel() * slot.dtype.itemsize

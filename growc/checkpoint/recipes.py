"""From tensor programs to bytes: for every tensor of the grown folder, which bytes of the source's files it is.

What cannot be moved is named, to be computed: rows of a tensor in memory, or a few tensors whole where a family stores
them so that rows are no unit on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from growc.checkpoint.conversion import Storage
from growc.checkpoint.dtypes import SAFETENSORS
from growc.checkpoint.grown import Grown, chain
from growc.checkpoint.held import Held, Pattern, held
from growc.checkpoint.origin import Origin, origin, stays
from growc.checkpoint.source import FolderTensors
from growc.files.headers import Entry
from growc.files.plan import Copied, Made, Part, PlannedTensor
from growc.growth.rewrite import Rewrite
from growc.model import ModelGraph
from growc.programs import Source, sources

Place = tuple[str, int | None, Pattern]
"""What a tensor on disk holds: see `Held`."""


@dataclass(frozen=True)
class Recipes:
    """The tensors of the grown folder by their name on disk, and what of them must be computed.

    `rows` are rows of tensors in memory, by name; `together` are names in memory that are computed whole and saved
    together. `held` says what each tensor on disk has of those in memory that changed.
    """

    tensors: dict[str, PlannedTensor]
    rows: dict[str, list[int]]
    together: list[tuple[str, ...]]
    held: Mapping[str, Held | None]


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
    changed = {n for n in shapes if any(step.programs[n] != Source(n) for step in steps)}
    metas = {n: torch.empty(shape, dtype=grown.dtype(n), device="meta") for n, shape in shapes.items()}
    slots = storage.stored(metas)
    holds = held(storage, {n: shapes[n] for n in shapes if n in changed})
    read = {n: graph.tensors[n].shape for n in sorted(_read(steps, changed))}
    places: dict[Place, str] = {
        (had.name, had.row, had.pattern): disk
        for disk, had in held(source.storage, read).items()
        if had is not None and disk in source.files.location
    }
    finder = _Finder(source, places, _origin(steps))
    tensors: dict[str, PlannedTensor] = {}
    rows: dict[str, set[int]] = {}
    lost: set[str] = set()
    for disk, slot in slots.items():
        had = holds.get(disk)
        found = finder.same(disk, slot) if disk not in holds else had and finder.rows(had, slot, rows)
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
    """Finds bytes of the source's files; `places` says which tensor on disk holds what of those in memory."""

    source: FolderTensors
    places: Mapping[Place, str]
    origin: Origin

    def same(self, disk: str, slot: Tensor) -> tuple[Part, ...]:
        """The bytes of an unchanged tensor: that of the same name, or nothing if it is stored in another way."""
        entry = self._entry(disk)
        return (self._copied(disk, entry.start, _size(slot)),) if entry and _alike(entry, slot) else ()

    def rows(self, had: Held, slot: Tensor, computed: dict[str, set[int]]) -> tuple[Part, ...]:
        """The bytes of a tensor that holds one row of a tensor in memory, or all; adds to `computed` rows of others."""
        wanted = range(len(slot)) if had.row is None else (had.row,)
        size = _size(slot) // len(wanted)
        parts: list[Part] = []
        for row, came_from in zip(wanted, self.origin(had.name, wanted), strict=True):
            part = self._row(came_from, had, slot, size) if came_from else None
            if part is None:
                computed.setdefault(had.name, set()).add(row)
            _append(parts, part or Made(size))
        return tuple(parts)

    def _row(self, came_from: tuple[str, int], had: Held, slot: Tensor, size: int) -> Copied | None:
        name, row = came_from
        disk = self.places.get((name, row if had.row is not None else None, had.pattern))
        entry = self._entry(disk) if disk else None
        if disk is None or entry is None:
            return None
        if had.row is not None:
            return self._copied(disk, entry.start, size) if _alike(entry, slot) else None
        alike = entry.dtype == SAFETENSORS[slot.dtype] and entry.shape[1:] == tuple(slot.shape[1:])
        return self._copied(disk, entry.start + row * size, size) if alike else None

    def _entry(self, disk: str) -> Entry | None:
        files = self.source.files
        return files.headers[files.location[disk]].tensors[disk] if disk in files.location else None

    def _copied(self, disk: str, start: int, size: int) -> Copied:
        return Copied(self.source.file_number(disk), start, size)


def _append(parts: list[Part], part: Part) -> None:
    """Add a part, as one with the last where the two are neighbours."""
    match parts[-1] if parts else None, part:
        case Copied(file, start, length), Copied(other, begin, more) if file == other and start + length == begin:
            parts[-1] = Copied(file, start, length + more)
        case Made(length), Made(more):
            parts[-1] = Made(length + more)
        case _:
            parts.append(part)


def _alike(entry: Entry, slot: Tensor) -> bool:
    return entry.dtype == SAFETENSORS[slot.dtype] and entry.shape == tuple(slot.shape)


def _size(slot: Tensor) -> int:
    return slot.numel() * slot.dtype.itemsize

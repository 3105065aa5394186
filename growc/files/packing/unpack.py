"""`growc unpack`: the checkpoint folder that was packed, every byte of it, proved by the digests of the index.

A packed folder may come from anywhere. Nothing is written outside the new folder; no more is written than the index
tells, which is compared with the free space first, and no more memory is taken than for a few blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from growc.diagnostics import Diagnostic, GrowcError, fail
from growc.files.atomic import commit
from growc.files.copying import Copier, Shortened, opened, read_whole, write
from growc.files.digests import range_digest
from growc.files.folder import check_folder
from growc.files.headers import Entry, read_header
from growc.files.packing.auxiliary_files import packed_name, unpack_beside
from growc.files.packing.frames import BLOCK, Damaged, counts, expand, head, unframe
from growc.files.packing.index import Pack, PackedFile, PackedTensor, damaged, read_pack
from growc.files.packing.pack import KEY
from growc.files.plan import PlannedTensor
from growc.files.progress import Listener, Meter
from growc.files.staging import check_destination, check_space, open_staging
from growc.files.workers import WORKERS, in_parallel


def unpack(folder: Path, to: Path, *, workers: int = WORKERS, listener: Listener | None = None) -> int:
    """Unpack a folder that `growc pack` wrote; the checkpoint appears whole or not at all.

    Files of the folder that its index does not name are no part of the checkpoint, and are left out.

    Args:
        folder: packed.
        to: a folder that does not exist.
        workers: threads.
        listener: told of the bytes unpacked and verified.

    Returns:
        Bytes of the checkpoint.

    Raises:
        GrowcError: GROW208 (a damaged file), GROW642 (`to` is taken), GROW643 (not enough space), GROW644 (the system
            refuses), GROW671 (not a packed folder), GROW672 (a damaged one).
    """
    check_folder(folder)
    check_destination(to, folder)
    pack = read_pack(folder)
    starts = [_starts(folder, file) for file in pack.files]
    with open_staging(to, KEY) as (aside, _):
        check_space(aside, pack.size)
        try:
            for file in pack.beside:
                unpack_beside(folder, aside, file)
            _Unpacking(pack, folder, aside, starts).run(workers, listener)
        except Shortened:
            damaged(folder, "holds a file that is shorter than it was")
        if os.path.lexists(to):
            fail("GROW642", f"{to} has come to exist", help="choose another --to, or remove it")
        commit(aside, to)
    return pack.size


def _starts(folder: Path, file: PackedFile) -> int:
    """The byte at which the data of a packed file start, if it is what the index says; else GROW672."""
    path = folder / packed_name(file.name)
    if not os.path.lexists(path):
        damaged(path, "is missing")
    tensors = read_header(path).tensors
    if _layout(tensors.items()) != _layout((t.name, t) for t in file.contents()):
        damaged(path, "does not hold what the index says")
    return next(iter(tensors.values())).start


@dataclass(frozen=True, slots=True)
class _Place:
    """A piece: `length` bytes from byte `start` of file `file` on, of the packed bytes `at` to `end` of file `source`.

    `base` is the number of the piece that these are a delta against, of elements of `width` bytes.
    """

    file: int
    start: int
    length: int
    source: int
    at: int
    end: int
    base: int | None
    width: int


def _places(pack: Pack, starts: Sequence[int]) -> list[_Place]:
    """All pieces by their numbers; what equals a piece that is stored whole is read from there."""
    found: list[_Place] = []
    for number, file in enumerate(pack.files):
        start, at = file.data, starts[number] + file.stored
        for tensor in file.tensors:
            length, width = tensor.piece, tensor.width
            for piece in tensor.pieces:
                place = _Place(number, start, length, number, at, at + piece.stored, piece.base, width)
                if piece.base is not None and not piece.stored and (base := found[piece.base]).base is None:
                    place = _Place(number, start, length, base.source, base.at, base.end, None, width)
                found.append(place)
                start, at = start + length, at + piece.stored
    return found


class _Unpacking:
    """A packed checkpoint on its way to be whole."""

    def __init__(self, pack: Pack, folder: Path, aside: Path, starts: list[int]) -> None:
        self._pack = pack
        self._packed = [folder / packed_name(file.name) for file in pack.files]
        self._paths = [aside / file.name for file in pack.files]
        self._starts = starts
        self._places = _places(pack, starts)
        self._copier = Copier()

    def run(self, workers: int, listener: Listener | None) -> None:
        """Make every file, then read it again."""
        for number, file in enumerate(self._pack.files):
            self._write_header(number, file)
        meter = Meter(listener, "unpacking", sum(place.length for place in self._places))
        for level in self._levels():
            for place in in_parallel(self._write, level, workers):
                meter.add(place.length)
        meter = Meter(listener, "verifying", sum(place.length for place in self._places))
        faults: list[Diagnostic] = []
        for tensor, path, found in in_parallel(self._digest, self._tensors(), workers):
            if found != tensor.digest:
                faults.append(_fault(f"{tensor.name} in {path.name} is not what was packed"))
            meter.add(tensor.nbytes)
        if faults:
            raise GrowcError(sorted(faults, key=str))

    def _levels(self) -> list[list[_Place]]:
        """The pieces that are stored whole, then those with a base among them, and so on."""
        levels: list[list[_Place]] = []
        depths: list[int] = []
        for place in self._places:
            depths.append(0 if place.base is None else depths[place.base] + 1)
            if depths[-1] == len(levels):
                levels.append([])
            levels[depths[-1]].append(place)
        return levels

    def _write_header(self, number: int, file: PackedFile) -> None:
        path = self._paths[number]
        with opened(self._packed[number]) as reads, opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as writes:
            try:
                text = expand(read_whole(reads, self._starts[number], file.stored), file.header)
            except Damaged as error:
                damaged(self._packed[number], f"holds a header that cannot be unpacked: {error}")
            os.ftruncate(writes, file.size)
            write(writes, file.header.to_bytes(8, "little") + text, 0)
        header = read_header(path)
        if header.digest != file.digest or _layout(header.tensors.items()) != _layout(
            (t.name, t) for t in file.tensors
        ):
            damaged(self._packed[number], "holds another header than the index says")

    def _write(self, place: _Place) -> _Place:
        with opened(self._packed[place.source]) as reads, opened(self._paths[place.file], os.O_RDWR) as writes:
            if place.base is None:
                self._copier.copy(reads, writes, place.at, place.start, place.length)
                return place
            base = self._places[place.base]
            with opened(self._paths[base.file]) as bases:
                at = place.at
                for done in range(0, place.length, BLOCK):
                    block = read_whole(bases, base.start + done, min(BLOCK, place.length - done))
                    if place.at < place.end:
                        block, at = self._next(place, reads, at, block)
                    write(writes, block, place.start + done)
        if at != place.end:
            self._refuse(place, f"{place.end - at} bytes follow its last frame")
        return place

    def _next(self, place: _Place, reads: int, at: int, base: bytes) -> tuple[bytes, int]:
        """The block whose frame is at byte `at`, and where the next one is."""
        first = at + head(place.width)
        if first > place.end:
            self._refuse(place, "it ends within a frame")
        try:
            told = counts(read_whole(reads, at, head(place.width)), len(base))
            if (end := first + sum(told)) > place.end:
                self._refuse(place, "it ends within a plane")
            return unframe(base, told, read_whole(reads, first, sum(told))), end
        except Damaged as error:
            self._refuse(place, str(error))

    def _refuse(self, place: _Place, fault: str) -> NoReturn:
        damaged(self._packed[place.source], f"holds a delta that cannot be unpacked: {fault}")

    def _tensors(self) -> Iterator[tuple[PackedTensor, Path, int]]:
        for file, path in zip(self._pack.files, self._paths, strict=True):
            start = file.data
            for tensor in file.tensors:
                yield tensor, path, start
                start += tensor.nbytes

    def _digest(self, item: tuple[PackedTensor, Path, int]) -> tuple[PackedTensor, Path, str]:
        tensor, path, start = item
        with opened(path) as handle:
            return tensor, path, range_digest(handle, start, tensor.nbytes).hex()


def _layout(tensors: Iterable[tuple[str, Entry | PackedTensor | PlannedTensor]]) -> list[object]:
    """Names, dtypes and shapes in the order of bytes."""
    return [(name, tensor.dtype, tensor.shape) for name, tensor in tensors]


def _fault(message: str) -> Diagnostic:
    return Diagnostic("GROW672", message, "fetch the packed checkpoint again, or pack it again")

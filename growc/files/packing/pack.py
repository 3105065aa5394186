"""`growc pack`: a checkpoint folder stored as bases and deltas, without loss.

Every source byte is read once for digests, and once to be stored. Nothing depends on the digests but which pieces are
compared: a piece takes no bytes only where all of its bytes were found equal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import NoReturn

from growc.diagnostics import fail
from growc.files.atomic import commit
from growc.files.copying import Copier, Shortened, opened, read_whole, write
from growc.files.digests import tensor_digests
from growc.files.folder import PACKED, WeightFiles, check_folder, read_folder
from growc.files.move import difference
from growc.files.packing.auxiliary_files import names_beside, pack_beside, packed_name
from growc.files.packing.frames import BLOCK, frame, squeeze
from growc.files.packing.index import Pack, PackedFile, PackedTensor, Piece, write_pack
from growc.files.packing.siblings import Groups, bases, pieces
from growc.files.plan import Copied, PlannedTensor, header_text
from growc.files.progress import Listener, Meter
from growc.files.staging import check_destination, open_staging
from growc.files.workers import WORKERS, in_parallel

KEY = "pack"
"""No plan has this key: a folder that a stopped call left is begun anew."""

METADATA = {"format": "growc.packed"}
"""Of packed files, whose tensors are no framework's."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of a folder as it was, and packed."""

    whole: int
    packed: int


def pack(folder: Path, to: Path, groups: Groups, *, workers: int = WORKERS, listener: Listener | None = None) -> Sizes:
    """Pack a checkpoint folder; the result appears whole or not at all.

    Args:
        folder: with weights as `read_folder` finds them; all other files go along.
        to: a folder that does not exist.
        groups: of experts that are siblings, and need not be equal.
        workers: threads.
        listener: told of the bytes read and packed.

    Raises:
        GrowcError: GROW206 to GROW209 (damaged weights), GROW642 (`to` is taken), GROW644 (the system refuses), GROW646
            (the source cannot be read, or changes), GROW660 (a file cannot go along), GROW671 (packed already).
    """
    check_folder(folder)
    if os.path.lexists(folder / PACKED):
        fail("GROW671", f"{folder} is packed already: it holds {PACKED}", help="`growc unpack` gives it back")
    check_destination(to, folder)
    files = read_folder(folder)
    try:
        packing = _Packing(files, groups, workers, listener)
        beside = names_beside(folder, files.headers)
    except OSError as error:
        fail("GROW646", f"{folder} cannot be read: {error.strerror}", help="see that it is readable")
    except Shortened:
        _changed(folder, "a file became shorter")
    with open_staging(to, KEY) as (aside, _):
        try:
            found = Pack(tuple(packing.write(aside)), tuple(pack_beside(folder, aside, beside)))
        except Shortened:
            _changed(folder, "a file became shorter")
        for source in packing.sources:
            if fault := difference(source):
                _changed(folder, f"{source.path} {fault}")
        write_pack(aside, found)
        packed = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
        if os.path.lexists(to):
            fail("GROW642", f"{to} has come to exist", help="choose another --to, or remove it")
        commit(aside, to)
    return Sizes(found.size, packed)


class _Packing:
    """A checkpoint cut into pieces, each with its base."""

    def __init__(self, files: WeightFiles, groups: Groups, workers: int, listener: Listener | None) -> None:
        self.sources = files.sources()
        self._workers, self._listener = workers, listener
        self._headers = [files.headers[Path(source.path).name] for source in self.sources]
        self._files = [
            tuple(pieces(number, entry, groups) for entry in header.tensors.values())
            for number, header in enumerate(self._headers)
        ]
        tensors = [tensor for file in self._files for tensor in file]
        digests = self._digests(tensors)
        self._whole = [whole for whole, _ in digests]
        self._parts = [part for tensor in tensors for part in tensor.parts]
        self._bases = bases(tensors, (digest for _, parts in digests for digest in parts), groups)
        self._copier = Copier()

    def _digests(self, tensors: Sequence[PlannedTensor]) -> list[tuple[bytes, list[bytes]]]:
        meter = Meter(self._listener, "reading", sum(tensor.nbytes for tensor in tensors))
        found: list[tuple[bytes, list[bytes]]] = [(b"", [])] * len(tensors)

        def read(number: int) -> tuple[int, tuple[bytes, list[bytes]]]:
            first = tensors[number].parts[0]
            assert isinstance(first, Copied)
            with opened(self.sources[first.file].path) as handle:
                return number, tensor_digests(handle, first.start, tensors[number])

        for number, digests in in_parallel(read, range(len(tensors)), self._workers):
            found[number] = digests
            meter.add(tensors[number].nbytes)
        return found

    def write(self, aside: Path) -> list[PackedFile]:
        """Write all packed files, one to a thread."""
        tensors = list(accumulate((len(file) for file in self._files), initial=0))
        counts = [sum(len(tensor.parts) for tensor in file) for file in self._files]
        starts = list(zip(tensors, accumulate(counts, initial=0), strict=False))
        meter = Meter(self._listener, "packing", sum(header.size for header in self._headers))
        found: dict[int, PackedFile] = {}
        for number, file in in_parallel(
            lambda number: (number, self._write(aside, number, *starts[number])), range(len(self._files)), self._workers
        ):
            found[number] = file
            meter.add(file.size)
        return [found[number] for number in range(len(found))]

    def _write(self, aside: Path, number: int, tensor: int, piece: int) -> PackedFile:
        """Write file `number`, whose first tensor and first piece have these numbers."""
        source, header, held = self.sources[number], self._headers[number], self._files[number]
        name, tensors = Path(source.path).name, list[PackedTensor]()
        with (
            opened(source.path) as reads,
            opened(aside / packed_name(name), os.O_RDWR | os.O_CREAT | os.O_EXCL) as writes,
        ):
            length = int.from_bytes(read_whole(reads, 0, 8), "little")
            squeezed = squeeze(read_whole(reads, 8, length))
            largest = [self._packed(tensor + index, planned, _whole(planned)) for index, planned in enumerate(held)]
            file = PackedFile(name, length, header.digest, len(squeezed), tuple(largest))
            room = len(header_text(file.contents(), METADATA))
            room += -room % 8
            at = 8 + room + len(squeezed)
            write(writes, squeezed, 8 + room)
            for whole, planned in zip(largest, held, strict=True):
                pieces = list[Piece]()
                for _ in planned.parts:
                    pieces.append(self._store(piece, writes, at, whole.width))
                    at += pieces[-1].stored
                    piece += 1
                tensors.append(replace(whole, pieces=tuple(pieces)))
            file = replace(file, tensors=tuple(tensors))
            text = header_text(file.contents(), METADATA)
            write(writes, room.to_bytes(8, "little") + text.ljust(room), 0)
            os.ftruncate(writes, at)
        return file

    def _packed(self, number: int, planned: PlannedTensor, pieces: tuple[Piece, ...]) -> PackedTensor:
        return PackedTensor(planned.name, planned.dtype, planned.shape, self._whole[number].hex(), pieces)

    def _store(self, number: int, writes: int, at: int, width: int) -> Piece:
        """Write a piece at byte `at`: as a delta, if it has a base and that pays."""
        part, base = self._parts[number], self._bases[number]
        assert isinstance(part, Copied)
        with opened(self.sources[part.file].path) as reads:
            if base is not None:
                other = self._parts[base]
                assert isinstance(other, Copied)
                with opened(self.sources[other.file].path) as bases:
                    stored = _write_delta(_frames(reads, part, bases, other, width), writes, at, part.length)
                if stored is not None:
                    return Piece(stored, base)
            os.ftruncate(writes, at)  # holes are copied as holes, and must be none of a delta's bytes
            self._copier.copy(reads, writes, part.start, at, part.length)
        os.ftruncate(writes, at + part.length)
        return Piece(part.length, None)


def _whole(tensor: PlannedTensor) -> tuple[Piece, ...]:
    return tuple(Piece(part.length, None) for part in tensor.parts)


def _frames(reads: int, part: Copied, bases: int, other: Copied, width: int) -> Iterator[bytes]:
    for done in range(0, part.length, BLOCK):
        length = min(BLOCK, part.length - done)
        base, data = read_whole(bases, other.start + done, length), read_whole(reads, part.start + done, length)
        yield frame(base, data, width)


def _write_delta(frames: Iterator[bytes], writes: int, at: int, length: int) -> int | None:
    """The bytes that a delta took, 0 if it is none; None if it takes as many as the piece itself, `length`."""
    stored, equal = 0, True
    for found in frames:
        equal = equal and not any(found)
        stored += len(found)
        if not equal and stored >= length:
            return None
        write(writes, found, at + stored - len(found))
    return 0 if equal else stored


def _changed(folder: Path, fault: str) -> NoReturn:
    fail("GROW646", f"{fault} while {folder} was packed", help="let nothing write to it, and pack it again")

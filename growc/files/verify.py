"""`growc verify`: a checkpoint folder compared with the manifest that its growth left in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from growc.diagnostics import Diagnostic, GrowcError, fail
from growc.files.copying import Shortened, opened
from growc.files.digests import range_digest
from growc.files.distributed import SHARD, size_of
from growc.files.folder import WeightFiles, read_folder
from growc.files.headers import Entry, Header
from growc.files.manifest import MANIFEST, Manifest, digests_beside, read_manifest
from growc.files.progress import Listener, Meter
from growc.files.workers import WORKERS, in_parallel


@dataclass(frozen=True)
class Verified:
    """How much was found as it should be."""

    tensors: int
    bytes: int


def verify(folder: Path, *, workers: int = WORKERS, listener: Listener | None = None) -> Verified:
    """Read every weight of a folder and compare it with the folder's manifest.

    Raises:
        GrowcError: GROW656 (no manifest, or a damaged one), GROW206 to GROW209 (files that are damaged or disagree
            with the index), GROW646 (a file cannot be read), GROW657 for every difference from the manifest.
    """
    manifest = read_manifest(folder)
    files = _without_headers(folder, manifest) if manifest.ranges else read_folder(folder)
    try:
        faults = list(_differences(manifest, files))
    except OSError as error:
        fail("GROW646", f"{folder} cannot be read: {error.strerror}", help="see that it is readable")
    entries = [
        (file, entry)
        for file, header in sorted(files.headers.items())
        for name, entry in header.tensors.items()
        if name in manifest.tensors and entry.end <= header.size
    ]
    size = sum(entry.end - entry.start for _, entry in entries)
    meter = Meter(listener, "verifying", size)

    def read(place: tuple[str, Entry]) -> tuple[str, Entry, bytes]:
        file, entry = place
        with opened(folder / file) as handle:
            return file, entry, range_digest(handle, entry.start, entry.end - entry.start)

    try:
        for file, entry, digest in in_parallel(read, entries, workers):
            if digest != manifest.tensors[entry.name][1]:
                faults.append(_fault(f"{entry.name} in {folder / file} has other bytes than when it was grown"))
            meter.add(entry.end - entry.start)
    except OSError as error:
        fail("GROW646", f"{folder} cannot be read: {error.strerror}", help="see that it is readable")
    except Shortened:
        fail("GROW646", f"a file of {folder} became shorter while it was read", help="let nothing write to it")
    if faults:
        raise GrowcError(sorted(faults, key=str))
    return Verified(len(entries), size)


def _without_headers(folder: Path, manifest: Manifest) -> WeightFiles:
    """The files of a distributed checkpoint, with what the manifest says of their insides."""
    entries: dict[str, dict[str, Entry]] = {}
    for name, (start, end) in manifest.ranges.items():
        entries.setdefault(manifest.tensors[name][0], {})[name] = Entry(name, "U8", (end - start,), start, end)
    headers: dict[str, Header] = {}
    for file, held in entries.items():
        try:
            headers[file] = Header(held, {}, size_of(folder / file), hashlib.sha256().hexdigest())
        except FileNotFoundError:
            continue  # the differences from the manifest tell it
        except OSError as error:
            fail("GROW646", f"{folder / file} cannot be read: {error.strerror}", help="see that it is readable")
    return WeightFiles(folder, headers, {name: file for file in headers for name in entries[file]})


def _differences(manifest: Manifest, files: WeightFiles) -> Iterator[Diagnostic]:
    """What the headers and the names of files tell."""
    folder = files.folder
    beside = digests_beside(folder)
    for name, digest in sorted(manifest.beside.items()):
        if name not in beside:
            yield _fault(f"{folder / name} is missing")
        elif beside[name] != digest:
            yield _fault(f"{folder / name} has other bytes than when it was grown")
    weights = ("*.safetensors", f"*{SHARD}")
    there = {path.name for pattern in weights for path in folder.glob(pattern)} | files.headers.keys()
    for name in sorted(there - manifest.files.keys()):
        yield _fault(f"{folder / name} was no part of the checkpoint when it was grown")
    for name, (size, digest) in sorted(manifest.files.items()):
        header = files.headers.get(name)
        if header is None:
            yield _fault(f"{folder / name} is missing, or not in the index")
        elif header.size != size:
            yield _fault(f"{folder / name} has {header.size} bytes, and {size} when it was grown")
        elif header.digest != digest:
            yield _fault(f"{folder / name} has another header than when it was grown")
    for name in sorted(files.location.keys() - manifest.tensors.keys()):
        yield _fault(f"{name} in {folder / files.location[name]} is not in {MANIFEST}")
    for name, (file, _) in sorted(manifest.tensors.items()):
        if name not in files.location:
            yield _fault(f"{name} is missing: {MANIFEST} puts it in {folder / file}")
        elif files.location[name] != file:
            yield _fault(f"{name} lies in {folder / files.location[name]}, and {MANIFEST} puts it in {file}")


def _fault(message: str) -> Diagnostic:
    return Diagnostic("GROW657", message, "fetch the checkpoint again, or grow it again")

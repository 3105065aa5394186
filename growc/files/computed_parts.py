"""Computed bytes, written where they belong in the output files before the rest is moved there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import xxhash

from growc.files.atomic import sync_folder
from growc.files.copying import opened, write
from growc.files.plan import Made, OutputFile, Part, PlannedTensor

BLOCK = 1 << 24
"""Bytes that are read at a time."""


class MadeWriter:
    """Writes the Made parts of `outputs` into the files of `folder`, in any order and in pieces of any size."""

    def __init__(self, folder: Path, outputs: Sequence[OutputFile]) -> None:
        self._folder, self._outputs = folder, outputs
        self._places = {tensor.name: (output, start) for output in outputs for start, tensor in output.places()}

    def write(self, name: str, data: memoryview, at: int = 0) -> None:
        """Write bytes of tensor `name`, from its byte `at` on.

        Raises:
            OSError: the system refuses.
        """
        output, start = self._places[name]
        with opened(self._folder / output.name, os.O_RDWR | os.O_CREAT) as handle:
            write(handle, data.cast("B"), start + at)

    def finished(self) -> tuple[OutputFile, ...]:
        """The outputs with the digests of all Made parts as they were read back, once they are on the disk."""
        return tuple(
            self._finished(output) if any(map(_is_made, output.tensors)) else output for output in self._outputs
        )

    def _finished(self, output: OutputFile) -> OutputFile:
        path = self._folder / output.name
        sync_folder(path)
        with opened(path, os.O_RDONLY) as handle:
            tensors = [
                replace(tensor, parts=tuple(_with_digests(handle, start, tensor.parts)))
                for start, tensor in output.places()
            ]
        return replace(output, tensors=tuple(tensors))


def _is_made(tensor: PlannedTensor) -> bool:
    return any(isinstance(part, Made) for part in tensor.parts)


def _with_digests(handle: int, start: int, parts: Sequence[Part]) -> Iterator[Part]:
    for part in parts:
        if isinstance(part, Made):
            digest = xxhash.xxh3_128()
            for begin in range(0, part.length, BLOCK):
                digest.update(os.pread(handle, min(BLOCK, part.length - begin), start + begin))
            yield Made(part.length, digest.hexdigest())
        else:
            yield part
        start += part.length

"""Which chunks of a plan are on the disk: an append-only file beside them, from which a killed call is gone on with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from growc.files.atomic import sync_folder
from growc.files.copying import write

LEDGER = "moved.jsonl"
"""Name of the ledger in the folder where a checkpoint is put together."""


class Ledger:
    """The numbers of finished chunks; each line of the file adds some spans `[first, last]`.

    `identity` says what the numbers mean: a ledger that begins with another one is begun anew.
    """

    def __init__(self, folder: Path, identity: Any) -> None:
        head = json.dumps(identity).encode() + b"\n"
        self.done: set[int] = set()
        self._handle = os.open(folder / LEDGER, os.O_RDWR | os.O_CREAT, 0o666)
        self._end = 0
        with os.fdopen(os.dup(self._handle), "rb") as file:
            if file.readline() == head:
                self._end = len(head)
                for line in file:
                    if not (spans := _spans(line)):
                        break  # a crash left it without its end
                    self.done.update(number for first, last in spans for number in range(first, last + 1))
                    self._end += len(line)
        os.ftruncate(self._handle, self._end)
        self._folder, self._head = folder, head

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        os.close(self._handle)

    def record(self, numbers: Iterable[int]) -> None:
        """Note chunks, whose bytes must be safe on the disk; the names of the folder's files are made so here."""
        spans = list(_as_spans(sorted(numbers)))
        if not spans:
            return
        if not self._end:
            sync_folder(self._folder)
        lines = (b"" if self._end else self._head) + json.dumps(spans).encode() + b"\n"
        write(self._handle, lines, self._end)
        os.fdatasync(self._handle)
        self._end += len(lines)
        self.done.update(number for first, last in spans for number in range(first, last + 1))


def _spans(line: bytes) -> list[tuple[int, int]]:
    if not line.endswith(b"]\n"):
        return []
    try:
        return [(int(first), int(last)) for first, last in json.loads(line)]
    except (ValueError, TypeError):
        return []


def _as_spans(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    held: tuple[int, int] | None = None
    for number in numbers:
        if held and number == held[1] + 1:
            held = (held[0], number)
            continue
        if held:
            yield held
        held = (number, number)
    if held:
        yield held

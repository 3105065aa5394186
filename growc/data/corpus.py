"""Prepared data, opened: every rank maps the same files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from growc.data.manifest import Manifest, Part, read_manifest
from growc.data.sampler import Tokens
from growc.diagnostics import fail


@dataclass(frozen=True)
class Corpus:
    """A folder of prepared data. Opening it reads the manifest only; tokens are mapped and read as they are
    used.
    """

    folder: Path
    manifest: Manifest

    def part(self, name: str) -> Tokens:
        """The tokens of a part that the spec names."""
        return self._open(f"the part {name!r}", self.manifest.parts[name])

    @property
    def validation(self) -> Tokens:
        """The held-out tokens."""
        return self._open("the validation data", self.manifest.validation)

    def require_windows(self, sequence_length: int) -> None:
        """Refuse a corpus with a part, or validation, that has not one window.

        Raises:
            GrowcError: GROW503.
        """
        for tokens in (*map(self.part, self.manifest.parts), self.validation):
            if tokens.count(sequence_length) == 0:
                fail(
                    "GROW503",
                    f"{tokens.name} has {len(tokens)} tokens; one window takes {sequence_length + 1}",
                    help="raise its fraction, give more data, or shorten `sequence_length`",
                )

    def _open(self, name: str, part: Part) -> Tokens:
        return Tokens(
            name,
            [
                np.memmap(
                    self.folder / extent.file,
                    dtype=np.dtype(extent.dtype).newbyteorder("<"),
                    mode="r",
                    offset=extent.start * extent.width,
                    shape=(extent.tokens,),
                )
                for extent in part.extents
            ],
        )


def open_corpus(folder: Path) -> Corpus:
    """Open what `prepare` wrote.

    Raises:
        GrowcError: GROW514, if the folder is not whole.
    """
    return Corpus(folder, read_manifest(folder))

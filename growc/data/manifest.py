"""What a folder of prepared data holds, as it stands in its manifest.json."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from growc.diagnostics import fail

NAME = "manifest.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Extent(_Frozen):
    """A run of tokens in a flat, little-endian file. A relative `file` lies beside the manifest."""

    file: str
    dtype: Literal["uint16", "uint32"]
    start: int
    tokens: int

    @property
    def width(self) -> int:
        """Bytes per token."""
        return 2 if self.dtype == "uint16" else 4


class Part(_Frozen):
    """One part of the data. `documents` counts files for flat tokens; `sha256` is of the bytes of all
    extents.
    """

    extents: tuple[Extent, ...]
    documents: int
    sha256: str

    @property
    def tokens(self) -> int:
        """Tokens in all extents."""
        return sum(extent.tokens for extent in self.extents)


class Manifest(_Frozen):
    """The parts, and `key`: a hash of everything they were made from, which tells whether they are still
    good.
    """

    format: Literal[1] = 1
    key: str
    parts: dict[str, Part]
    validation: Part

    @cached_property
    def content(self) -> str:
        """A hash of every token of every part. Equal on two machines if and only if they train on the same
        data.
        """
        rows = [*(f"{name}:{part.sha256}" for name, part in self.parts.items()), self.validation.sha256]
        return sha256("\n".join(rows).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of prepared data, after a look at the sizes of the files it lists.

    Raises:
        GrowcError: GROW514, if the folder is not whole.
    """
    try:
        manifest = Manifest.model_validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a manifest of this version of growc"
        fail("GROW514", f"{folder / NAME} cannot be read: {reason}", help=f"remove {folder} and run again")
    for part in (*manifest.parts.values(), manifest.validation):
        for extent in part.extents:
            path = folder / extent.file
            size = path.stat().st_size if path.is_file() else 0
            if size < (extent.start + extent.tokens) * extent.width:
                fail(
                    "GROW514",
                    f"{path} is missing or shorter than it was",
                    help=f"remove {folder} and run again",
                )
    return manifest

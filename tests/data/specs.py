"""Short ways to write what the tests of data need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from growc.data import Corpus, Tokens, prepare
from growc.spec.schema import Data


def section(train: dict[str, Any], **keys: Any) -> Data:
    """A `data` section as it would stand in a spec, with short sequences."""
    return Data.model_validate({"sequence_length": 8, "train": train, **keys})


def prepared(base: Path, data: Data, *, vocab_size: int = 256, seed: int = 0, cache: str = "cache") -> Corpus:
    """The corpus of a section whose paths are relative to `base`."""
    return prepare(data, vocab_size, base / cache, base, seed)


def content(tokens: Tokens) -> list[int]:
    """Every token, in order."""
    return tokens.windows(1, len(tokens))[:, 0].tolist() if len(tokens) > 1 else []

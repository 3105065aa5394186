"""Text to token ids: bytes as they are, or a Hugging Face tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from growc.diagnostics import Diagnostic, GrowcError, fail

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = npt.NDArray[np.unsignedinteger[Any]]

_FILES = ("tokenizer*", "vocab*", "merges*", "special_tokens*", "added_tokens*", "*.model", "config.json")


class Tokenizer(Protocol):
    """What turns text into ids, all of them below `size`; `separator` ends each document."""

    @property
    def size(self) -> int:
        """One more than the largest id."""
        ...

    @property
    def separator(self) -> int:
        """The id that ends a document."""
        ...

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text, without any special token."""
        ...


class Bytes:
    """The bytes of UTF-8 text are the ids, 0 to 255. Byte 0, which no text has, separates documents."""

    size = 256
    separator = 0

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """One id per byte, as uint8."""
        return [np.frombuffer(text.encode(), dtype=np.uint8) for text in texts]


class HuggingFace:
    """A tokenizer of the transformers library. Its end-of-text token separates documents."""

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
        end = tokenizer.eos_token_id
        if not isinstance(end, int):
            fail("GROW510", f"the tokenizer {name!r} has no end-of-text token", help="set its `eos_token`")
        self.separator = end
        self.size = max(self.separator, *tokenizer.get_vocab().values()) + 1
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text, as uint32."""
        # Not verbose: a long text is no mistake here, since windows are cut from the ids.
        encoded = self._tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [np.asarray(ids, dtype=np.uint32) for ids in encoded["input_ids"]]


def load_tokenizer(name: str, base_dir: Path) -> Tokenizer:
    """The tokenizer that a spec names: `bytes`, a folder, or an id on the hub.

    Raises:
        GrowcError: GROW510, if there is none, or if it cannot be read, or if it has no end-of-text token.
    """
    if name == "bytes":
        return Bytes()
    folder = base_dir / name
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        fail("GROW510", f"the tokenizer folder {folder} does not exist")
    try:
        return HuggingFace(name, _from_hub(name) if not folder.is_dir() else _from_files(str(folder)))
    except GrowcError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception for a file it cannot read
        reason = next(iter(str(error).strip().splitlines()), "")
        message = f"the tokenizer {name!r} cannot be loaded: {type(error).__name__}: {reason}"
        raise GrowcError([Diagnostic("GROW510", message, "`growc explain GROW510`")]) from error


def _from_files(name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name, local_files_only=True)


def _from_hub(name: str) -> PreTrainedTokenizerBase:
    """From the local cache, else online."""
    from huggingface_hub import HfApi
    from transformers import AutoTokenizer

    try:
        return _from_files(name)
    except (OSError, ValueError):
        # Asked first, because from_pretrained retries for most of a minute where there is no network.
        HfApi().model_info(name, timeout=10)
        return AutoTokenizer.from_pretrained(name)


def fingerprint(name: str, base_dir: Path) -> str:
    """What changes when a tokenizer does, without loading it: a hash of a folder's files, else the name."""
    folder = base_dir / name
    if name == "bytes" or not folder.is_dir():
        return name
    digest = sha256()
    for path in sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()}):
        digest.update(f"{path.name}:{path.stat().st_size}:".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()

"""From the `data` section of a spec to a folder of prepared data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path

from growc.data.corpus import Corpus, open_corpus
from growc.data.documents import read_chunks
from growc.data.files import DataFile, find_files
from growc.data.flat import check_files, scan
from growc.data.manifest import NAME, Manifest, Part
from growc.data.split import (
    Boundary,
    Piece,
    after_line,
    after_line_or_character,
    after_tokens,
    split,
)
from growc.data.store import write_manifest, write_part, writing
from growc.data.tokenizer import Tokenizer, fingerprint, load_tokenizer
from growc.diagnostics import GrowcError, fail
from growc.spec.schema import CorpusSpec, Data, Jsonl, Tokens


def prepare(data: Data, vocab_size: int, cache_dir: Path, base_dir: Path, seed: int) -> Corpus:
    """Split a corpus into its parts and tokenize them, or find that this was done before. One process calls
    it.

    Flat token files are only read through, and used where they lie.

    Args:
        data: The section of the spec.
        vocab_size: Of the model; every id is below it.
        cache_dir: The folder to make; it is there whole or not at all.
        base_dir: The spec's folder.
        seed: Of the split.

    Raises:
        GrowcError: With codes from GROW501 to GROW515; the user's data is not what the spec says, or cannot
            be read.
    """
    train = find_files(data.train, base_dir)
    source = data.validation.source
    held_out = find_files(source, base_dir) if source else ()
    if shared := sorted({file.path for file in train} & {file.path for file in held_out}):
        more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
        fail(
            "GROW513",
            f"{shared[0]}{more} is both trained on and validated on",
            help="`growc explain GROW513`",
        )
    key = _key(data, vocab_size, base_dir, seed, train, held_out)
    corpus = _reuse(cache_dir, key)
    if corpus is None:
        pieces = _split(data, train, held_out, seed)
        with writing(cache_dir) as folder:
            write_manifest(folder, _write(data, vocab_size, folder, base_dir, key, pieces))
        corpus = open_corpus(cache_dir)
    corpus.require_windows(data.sequence_length)
    return corpus


def _reuse(folder: Path, key: str) -> Corpus | None:
    if not (folder / NAME).exists():
        return None
    try:
        corpus = open_corpus(folder)
    except GrowcError:  # damaged, or of another version: made anew
        return None
    return corpus if corpus.manifest.key == key else None


def _key(
    data: Data,
    vocab_size: int,
    base_dir: Path,
    seed: int,
    train: Sequence[DataFile],
    held_out: Sequence[DataFile],
) -> str:
    """A hash of all that the prepared data depends on; of the text files, what a look at the folder tells."""
    content = {
        "data": data.model_dump(mode="json", exclude={"sequence_length": True, "validation": {"sequences"}}),
        "tokenizer": fingerprint(data.tokenizer, base_dir),
        "vocab_size": vocab_size,
        "seed": seed,
        "files": [
            [(str(file.path), file.name, file.size, file.modified) for file in files] for files in (train, held_out)
        ],
    }
    # In the order of the spec, which the split of a single file depends on.
    return sha256(json.dumps(content).encode()).hexdigest()


def _split(
    data: Data, train: Sequence[DataFile], held_out: Sequence[DataFile], seed: int
) -> dict[str, tuple[Piece, ...]]:
    """The pieces of each part, and of the validation under the empty name."""
    for corpus, files in ((data.train, train), (data.validation.source, held_out)):
        if isinstance(corpus, Tokens):
            check_files(files, _width(corpus))
    fraction = data.validation.fraction or 0.0
    names = list(data.parts)
    shares = [share * (1 - fraction) for share in data.parts.values()]
    if fraction:
        names.append("")
        shares.append(fraction)
    pieces = dict(zip(names, split(train, shares, seed, _boundary(data.train)), strict=True))
    if held_out:
        pieces[""] = tuple(Piece(file.path, 0, file.size) for file in held_out)
    for name, given in pieces.items():
        if not given:
            what = f"the part {name!r}" if name else "the validation data"
            files = "one file" if len(train) == 1 else f"{len(train)} files"
            fail(
                "GROW503",
                f"{what} is empty after the split of {files}",
                help="raise its fraction, or give more files",
            )
    return pieces


def _write(
    data: Data, vocab_size: int, folder: Path, base_dir: Path, key: str, pieces: dict[str, tuple[Piece, ...]]
) -> Manifest:
    sources = {name: data.train if name else data.validation.source or data.train for name in pieces}
    tokenizer = None
    if not all(isinstance(source, Tokens) for source in sources.values()):
        tokenizer = _fitting_tokenizer(data.tokenizer, vocab_size, base_dir)
    parts: dict[str, Part] = {}
    for name, given in pieces.items():
        match sources[name]:
            case Tokens(dtype=dtype):
                parts[name] = scan(given, dtype, vocab_size)
            case source:
                assert tokenizer is not None
                chunks = chain.from_iterable(read_chunks(source, piece) for piece in given)
                file = f"part-{name}.bin" if name else "validation.bin"
                parts[name] = write_part(folder / file, chunks, tokenizer)
    validation = parts.pop("")
    return Manifest(key=key, parts=parts, validation=validation)


def _fitting_tokenizer(name: str, vocab_size: int, base_dir: Path) -> Tokenizer:
    tokenizer = load_tokenizer(name, base_dir)
    if tokenizer.size > vocab_size:
        fail(
            "GROW509",
            f"the tokenizer {name!r} has ids up to {tokenizer.size - 1}; the vocabulary is {vocab_size}",
            help="use the model's own tokenizer, or a larger `vocab_size`",
        )
    return tokenizer


def _width(corpus: Tokens) -> int:
    return 2 if corpus.dtype == "uint16" else 4


def _boundary(corpus: CorpusSpec) -> Boundary:
    match corpus:
        case Tokens():
            return after_tokens(_width(corpus))
        case Jsonl():
            return after_line
        case _:
            return after_line_or_character

"""What the tokenizer files of a checkpoint folder mean by each token id, read without the code of any tokenizer.

Compared is what they say, not how they are written: order, spaces, merges and scores do not matter here. A folder may
say it in several files (`tokenizer.json`, `vocab.json`, a sentencepiece model, a tiktoken file); two folders are
compared by one that both have.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from growc.diagnostics import fail
from growc.files.strict import parse, read_bytes

Tokens = Mapping[int, str]
"""Token ids with their tokens, as the file has them; bytes stand in the characters of byte-level tokenizers."""

JSON, VOCABULARY, TEKKEN = "tokenizer.json", "vocab.json", "tekken.json"
LISTS = ("vocab.txt",)
MODELS = ("*.model", "*.tiktoken", "*.model.v*")
SHIFTED = "sentencepiece.bpe.model"
"""A sentencepiece model whose ids its tokenizers move: no other file of the folder has the same ones."""


def difference(one: Path, other: Path) -> tuple[int, str, str] | None:
    """The first token id by which two folders mean different tokens, and these; None if there is none.

    Raises:
        GrowcError: GROW220, a tokenizer file cannot be read.
    """
    told = [_told(folder.resolve()) for folder in (one, other)]
    common = [kind for kind in told[0] if kind in told[1]]
    kinds = [common[0]] * 2 if common else [next((k for k in each if k != SHIFTED), None) for each in told]
    if kinds[0] is None or kinds[1] is None:
        return None
    first, second = told[0][kinds[0]], told[1][kinds[1]]
    unlike = min((number for number in first.keys() & second.keys() if first[number] != second[number]), default=None)
    return None if unlike is None else (unlike, first[unlike], second[unlike])


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a file of a tokenizer, going by the names."""
    return any(path.name.startswith("token") for path in folder.iterdir()) or any(
        next(folder.glob(name), None) for name in (VOCABULARY, *LISTS, *MODELS, TEKKEN)
    )


def _told(folder: Path) -> dict[str, Tokens]:
    """What each tokenizer file of a folder says, by the name of the file, those that say the most first."""
    found: dict[str, Tokens] = {}
    models = [path.name for pattern in MODELS for path in sorted(folder.glob(pattern))]
    for name in (JSON, VOCABULARY, *LISTS, *models, TEKKEN):
        path = folder / name
        if not path.is_file():
            continue
        try:
            tokens = _read(path)
        except OSError as error:
            _refuse(path, error.strerror or str(error))
        except (ValueError, TypeError, LookupError, AttributeError, binascii.Error) as error:
            _refuse(path, str(error) or type(error).__name__)
        if tokens:
            found[name] = tokens if name in (JSON, TEKKEN) else {**tokens, **_added(folder)}
    return found


def _read(path: Path) -> Tokens:
    data = read_bytes(path)
    match path.name:
        case "tokenizer.json":
            return _of_library(parse(data))
        case "vocab.json":
            return {int(number): str(token) for token, number in parse(data).items()}
        case "vocab.txt":
            return dict(enumerate(data.decode().splitlines()))
        case "tekken.json":
            return _of_tekken(parse(data))
        case _:
            return _of_tiktoken(data) if _is_tiktoken(data) else dict(enumerate(_pieces(data)))


def _of_library(values: dict[str, Any]) -> Tokens:
    """As the tokenizers library writes it: a mapping of tokens, or a list of tokens with scores, and added tokens."""
    vocabulary: Any = (values.get("model") or {}).get("vocab") or {}
    if isinstance(vocabulary, dict):
        found = {int(number): str(token) for token, number in vocabulary.items()}
    else:
        found = {number: str(entry[0]) for number, entry in enumerate(vocabulary)}
    return found | {int(token["id"]): str(token["content"]) for token in values.get("added_tokens") or []}


def _added(folder: Path) -> dict[int, str]:
    """Tokens that were added to a vocabulary, as transformers writes them beside it."""
    found: dict[int, str] = {}
    if (path := folder / "added_tokens.json").is_file():
        found |= {int(number): str(token) for token, number in parse(read_bytes(path)).items()}
    if (path := folder / "tokenizer_config.json").is_file():
        decoder: dict[str, Any] = parse(read_bytes(path)).get("added_tokens_decoder") or {}
        found |= {int(number): str(token["content"]) for number, token in decoder.items()}
    return found


def _of_tekken(values: dict[str, Any]) -> Tokens:
    before = int(values["config"]["default_num_special_tokens"])
    size = int(values["config"]["default_vocab_size"]) - before
    entries = (entry for entry in values["vocab"] if int(entry["rank"]) < size)
    return {before + int(entry["rank"]): _in_characters(base64.b64decode(entry["token_bytes"])) for entry in entries}


def _is_tiktoken(data: bytes) -> bool:
    """Whether the first line is a token in base64 and its number, which no sentencepiece model begins with."""
    first = data.split(b"\n", 1)[0].split()
    return len(first) == 2 and first[1].isdigit()


def _of_tiktoken(data: bytes) -> Tokens:
    lines = (line.split() for line in data.splitlines() if line.strip())
    return {int(number): _in_characters(base64.b64decode(token, validate=True)) for token, number in lines}


def _in_characters(token: bytes) -> str:
    characters = _characters()
    return "".join(characters[byte] for byte in token)


@cache
def _characters() -> list[str]:
    """The printable character that stands for each byte in byte-level tokenizers, as GPT-2 defined them."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _pieces(data: bytes) -> Iterator[str]:
    """The pieces of a sentencepiece model, in order: field 1 of each message in field 1 of its protobuf."""
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            yield next(piece.decode() for inner, piece in _fields(value) if inner == 1 and isinstance(piece, bytes))


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        match tag & 7:
            case 0:
                value, at = _number(data, at)
            case 1 | 5 as kind:
                length = 8 if kind == 1 else 4
                value, at = data[at : at + length], at + length
            case 2:
                length, at = _number(data, at)
                value, at = data[at : at + length], at + length
            case kind:
                raise ValueError(f"it is no sentencepiece model: field of kind {kind}")
        if at > len(data):
            raise ValueError("it is cut short")
        yield tag >> 3, value


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, at


def _refuse(path: Path, why: str) -> NoReturn:
    fail(
        "GROW220",
        f"{path} cannot be read for its tokens: {why}",
        help="fetch it again, or pass --allow-unlike-tokenizers if you know that the parents' tokenizers agree",
    )

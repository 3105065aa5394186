"""Tokenizer files are compared by what they mean by each id, and not by how they are written."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from growc.diagnostics import GrowcError
from growc.files.vocabulary import difference

TEXT = ["the grown model computes what its source did", "copies of an expert go ways of their own"]
PIECES = ["<unk>", "<s>", "</s>", "▁the", "▁grown", "el", "modè"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    return tmp_path / "a", tmp_path / "b"


def trained(kind: str = "bpe", size: int = 300) -> dict[str, Any]:
    """What the tokenizers library saves."""
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        trainer: Any = trainers.BpeTrainer(
            vocab_size=size, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )  # fmt: skip
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=60, special_tokens=["<end>"], unk_token="<end>", show_progress=False
        )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXT, trainer)
    return json.loads(tokenizer.to_str())


def write(folder: Path, values: Any, name: str = "tokenizer.json", **how: Any) -> None:
    (folder / name).write_text(json.dumps(values, **how), encoding="utf-8")


def shuffled(values: dict[str, int]) -> dict[str, int]:
    items = list(values.items())
    random.Random(0).shuffle(items)
    return dict(items)


def swapped(vocabulary: dict[str, int], first: int, second: int) -> tuple[dict[str, int], str, str]:
    tokens = {number: token for token, number in vocabulary.items()}
    one, other = tokens[first], tokens[second]
    return vocabulary | {one: second, other: first}, one, other


def test_another_way_of_writing_is_no_difference(folders: tuple[Path, Path]) -> None:
    values = trained()
    write(folders[0], values)
    model = values["model"] | {"vocab": shuffled(values["model"]["vocab"]), "merges": []}
    write(
        folders[1], {"model": model, **{k: v for k, v in values.items() if k != "model"}}, indent=3, ensure_ascii=False
    )
    assert difference(*folders) is None


def test_the_first_id_with_another_token_is_named(folders: tuple[Path, Path]) -> None:
    values = trained()
    write(folders[0], values)
    vocabulary, one, other = swapped(values["model"]["vocab"], 280, 290)
    write(folders[1], values | {"model": values["model"] | {"vocab": vocabulary}})
    assert difference(*folders) == (280, one, other)
    assert difference(*reversed(folders)) == (280, other, one)


def test_lists_of_pieces_are_numbered(folders: tuple[Path, Path]) -> None:
    values = trained("unigram")
    vocabulary = [list(entry) for entry in values["model"]["vocab"]]
    write(folders[0], values)
    scores = [[token, score - 1] for token, score in vocabulary]
    write(folders[1], values | {"model": values["model"] | {"vocab": scores}})
    assert difference(*folders) is None
    one, other = vocabulary[7][0], vocabulary[9][0]
    scores[7], scores[9] = scores[9], scores[7]
    write(folders[1], values | {"model": values["model"] | {"vocab": scores}})
    assert difference(*folders) == (7, one, other)


def test_added_tokens_count(folders: tuple[Path, Path]) -> None:
    values = trained()
    size = len(values["model"]["vocab"])
    for folder, token in zip(folders, ("<|think|>", "<|tool|>"), strict=True):
        write(folder, values | {"added_tokens": [*values["added_tokens"], {"id": size, "content": token}]})
    assert difference(*folders) == (size, "<|think|>", "<|tool|>")
    write(folders[1], values)
    assert difference(*folders) is None, "an id that only one of them knows has one meaning"


def test_vocabulary_files_of_their_own(folders: tuple[Path, Path]) -> None:
    vocabulary = trained()["model"]["vocab"]
    write(folders[0], vocabulary, "vocab.json")
    write(folders[1], shuffled(vocabulary), "vocab.json", indent=1)
    assert difference(*folders) is None
    other, one, another = swapped(vocabulary, 11, 12)
    write(folders[1], other, "vocab.json")
    assert difference(*folders) == (11, one, another)
    write(folders[1], vocabulary, "vocab.json")
    for folder, token in zip(folders, ("<a>", "<b>"), strict=True):
        write(folder, {"added_tokens_decoder": {"500": {"content": token}}}, "tokenizer_config.json")
    assert difference(*folders) == (500, "<a>", "<b>")


def test_one_file_against_another(folders: tuple[Path, Path]) -> None:
    """The same tokenizer in two forms agrees; another one in another form does not."""
    values = trained()
    write(folders[0], values)
    write(folders[1], values["model"]["vocab"], "vocab.json")
    assert difference(*folders) is None
    write(folders[1], swapped(values["model"]["vocab"], 3, 4)[0], "vocab.json")
    assert difference(*folders) is not None


def varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + varint(number >> 7)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def sentencepiece(pieces: list[str], score: bytes = b"\0\0\x80\xbf", trainer: bytes = b"\x18\x01") -> bytes:
    """A model as the sentencepiece library writes it: pieces with scores and types, and how it was trained."""
    found = b"".join(message(1, message(1, piece.encode()) + b"\x15" + score + b"\x18\x01") for piece in pieces)
    return found + message(2, trainer) + message(3, b"\x0a\x04nmt_")


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model.v3"])
def test_sentencepiece_models(folders: tuple[Path, Path], name: str) -> None:
    pieces = [*PIECES, *map(str, range(300))]
    (folders[0] / name).write_bytes(sentencepiece(pieces))
    (folders[1] / name).write_bytes(sentencepiece(pieces, b"\0\0\0\0", b"\x18\x02\x52\x00"))
    assert difference(*folders) is None
    pieces[3], pieces[6] = pieces[6], pieces[3]
    (folders[1] / name).write_bytes(sentencepiece(pieces))
    assert difference(*folders) == (3, "▁the", "modè")


def test_a_sentencepiece_model_that_its_tokenizer_moves_is_compared_with_its_like_alone(
    folders: tuple[Path, Path],
) -> None:
    (folders[0] / "sentencepiece.bpe.model").write_bytes(sentencepiece(PIECES))
    write(folders[1], {"model": {"vocab": {"<s>": 0, "<pad>": 1}}})
    assert difference(*folders) is None


def test_tiktoken_files(folders: tuple[Path, Path]) -> None:
    tokens = [bytes([number]) for number in range(256)] + [b"th", b" the", "è".encode()]
    lines = [base64.b64encode(token).decode() + f" {number}" for number, token in enumerate(tokens)]
    (folders[0] / "tiktoken.model").write_text("\n".join(lines))
    (folders[1] / "tiktoken.model").write_text("\n".join(reversed(lines)) + "\n")
    assert difference(*folders) is None
    (folders[1] / "tiktoken.model").unlink()
    write(folders[1], {"model": {"vocab": {"Ġthe": 257, "th": 256, "Ã¨": 258, "A": 65}}})
    assert difference(*folders) is None
    write(folders[1], {"model": {"vocab": {"Ġthe": 256, "th": 257}}})
    assert difference(*folders) == (256, "th", "Ġthe")


def test_tekken_files(folders: tuple[Path, Path]) -> None:
    entries = [{"rank": number, "token_bytes": base64.b64encode(bytes([number])).decode()} for number in range(10)]
    settings = {"default_num_special_tokens": 5, "default_vocab_size": 13}
    write(folders[0], {"config": settings, "vocab": entries}, "tekken.json")
    write(folders[1], {"vocab": entries[::-1], "config": settings}, "tekken.json")
    assert difference(*folders) is None
    entries[4], entries[5] = entries[4] | {"rank": 5}, entries[5] | {"rank": 4}
    write(folders[1], {"config": settings, "vocab": entries}, "tekken.json")
    assert difference(*folders) is not None


@pytest.mark.parametrize("values", [None, {}, {"model": {}}, {"model": None}])
def test_a_folder_that_says_nothing_is_like_any(folders: tuple[Path, Path], values: Any) -> None:
    write(folders[0], trained())
    if values is not None:
        write(folders[1], values)
    assert difference(*folders) is None
    assert difference(*reversed(folders)) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b'{"model": {"vocab": {"a": "b"}}}'),
        ("tokenizer.json", b'{"added_tokens": [{}]}'),
        ("vocab.json", b"[1]"),
        ("tokenizer.model", b"\x0a\xff\xff"),
        ("tokenizer.model", b"\x0b\x00"),
        ("tokenizer.model", b"AA== 1\n!!! x\n"),
        ("tekken.json", b"{}"),
    ],
)
def test_a_damaged_file_is_refused(folders: tuple[Path, Path], name: str, content: bytes) -> None:
    write(folders[0], trained())
    (folders[1] / name).write_bytes(content)
    with pytest.raises(GrowcError, match=f"GROW220.*{name}"):
        difference(*folders)

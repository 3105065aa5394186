from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from growc.data.tokenizer import Bytes, fingerprint, load_tokenizer
from growc.diagnostics import GrowcError
from tests.data.specs import prepared, section

TEXT = "".join(f"def function_{i}(argument):\n    return argument + {i}  # é\n" for i in range(3000))


def train_tokenizer(folder: Path, *, end: str | None = "<end>", size: int = 400) -> None:
    """A byte-level BPE tokenizer of its own, in the files of transformers."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<pad>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end).save_pretrained(folder)


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_bytes_are_the_text(texts: list[str]) -> None:
    assert [ids.tobytes().decode() for ids in Bytes().encode(texts)] == texts


def test_a_folder_with_a_tokenizer(tmp_path: Path) -> None:
    train_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "a.txt").write_text(TEXT)
    data = section({"kind": "text", "path": "a.txt"}, tokenizer="tokenizer")
    corpus = prepared(tmp_path, data, vocab_size=400)
    ids = np.fromfile(corpus.folder / "part-train.bin", "<u2")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert ids[-1] == tokenizer.eos_token_id == 1
    read = tokenizer.decode(ids[:-1].tolist())
    assert TEXT.startswith(read)
    assert len(read) > 0.97 * len(TEXT)
    # Long texts are encoded in pieces, so that merges may differ by a token where one piece meets the next.
    alone = tokenizer(read, add_special_tokens=False)["input_ids"]
    assert ids[:10_000].tolist() == alone[:10_000]
    assert len(ids) - 1 == pytest.approx(len(alone), abs=10)


@pytest.mark.slow
def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    train_tokenizer(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    tokenizer.add_tokens([f"<extra-{i}>" for i in range(1 << 16)])
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "a.txt").write_text("<extra-65535>" * 1000)
    data = section({"kind": "text", "path": "a.txt"}, tokenizer="tokenizer", parts={"all": 1.0})
    corpus = prepared(tmp_path, data, vocab_size=1 << 17)
    assert corpus.manifest.parts["all"].extents[0].dtype == "uint32"
    assert set(corpus.part("all").batch(0, 0, 1, 8)[0].tolist()) == {400 + 65535}


def test_a_tokenizer_beyond_the_vocabulary(tmp_path: Path) -> None:
    train_tokenizer(tmp_path / "tokenizer")
    data = section({"kind": "python_source"}, tokenizer="tokenizer")
    with pytest.raises(GrowcError, match=r"GROW509.*up to 399"):
        prepared(tmp_path, data, vocab_size=399)


def test_a_tokenizer_without_an_end(tmp_path: Path) -> None:
    train_tokenizer(tmp_path / "tokenizer", end=None)
    with pytest.raises(GrowcError, match=r"GROW510.*end-of-text"):
        load_tokenizer("tokenizer", tmp_path)


@pytest.mark.parametrize("content", ["", "{}", '{"model": 3}', "not json"])
def test_a_tokenizer_that_is_damaged(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(GrowcError, match=r"GROW510"):
        load_tokenizer(".", tmp_path)


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "/nowhere"])
def test_a_tokenizer_folder_that_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(GrowcError, match=r"GROW510.*does not exist"):
        load_tokenizer(name, tmp_path)


def test_a_hub_tokenizer_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(GrowcError, match=r"GROW510.*'nobody/nothing'"):
        load_tokenizer("nobody/nothing", tmp_path)


def test_a_changed_tokenizer_is_noticed(tmp_path: Path) -> None:
    train_tokenizer(tmp_path / "tokenizer")
    before = fingerprint("tokenizer", tmp_path)
    train_tokenizer(tmp_path / "tokenizer", size=399)
    assert fingerprint("tokenizer", tmp_path) != before
    assert fingerprint("bytes", tmp_path) == "bytes"

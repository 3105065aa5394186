from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from growc.data import Corpus, open_corpus
from growc.diagnostics import GrowcError
from tests.data.specs import content, prepared, section

HALVES = {"one": 0.5, "two": 0.5}


def write_texts(folder: Path, number: int = 40) -> list[str]:
    """Files that name themselves on every line."""
    folder.mkdir()
    texts = [f"file {i:03d} says é\n" * (1 + i % 7) for i in range(number)]
    for i, text in enumerate(texts):
        (folder / f"{i:03d}.txt").write_text(text)
    return texts


def documents(corpus: Corpus) -> dict[str, list[str]]:
    """The documents of every part, and of the validation under the empty name, from the prepared files."""
    files = {name: f"part-{name}.bin" for name in corpus.manifest.parts} | {"": "validation.bin"}
    read = {name: np.fromfile(corpus.folder / file, "<u2") for name, file in files.items()}
    texts = {name: tokens.astype(np.uint8).tobytes().decode() for name, tokens in read.items()}
    assert all(text.endswith("\0") for text in texts.values())
    return {name: text.split("\0")[:-1] for name, text in texts.items()}


def test_parts_and_validation_share_no_file_and_lose_none(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    data = section({"kind": "text", "path": "texts"}, parts=HALVES, validation={"fraction": 0.1})
    corpus = prepared(tmp_path, data)
    given_ = documents(corpus)
    assert sorted(text for part in given_.values() for text in part) == sorted(texts)
    assert {name: part.documents for name, part in corpus.manifest.parts.items()} == {
        name: len(given_[name]) for name in HALVES
    }
    total = sum(map(len, texts))
    shares = {name: sum(map(len, part)) / total for name, part in given_.items()}
    assert shares == pytest.approx({"one": 0.45, "two": 0.45, "": 0.1}, abs=0.03)


def test_a_single_text_file_is_cut_into_parts(tmp_path: Path) -> None:
    text = "".join(f"line {i}\n" for i in range(500))
    (tmp_path / "one.txt").write_text(text)
    corpus = prepared(tmp_path, section({"kind": "text", "path": "one.txt"}, parts=HALVES))
    given_ = documents(corpus)
    assert given_["one"][0] + given_["two"][0] + given_[""][0] == text
    assert all(part[0].endswith("\n") for part in given_.values())


def test_what_no_part_asks_for_is_left_out(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    corpus = prepared(tmp_path, section({"kind": "text", "path": "texts"}, parts={"one": 0.3}))
    used = sum(map(len, documents(corpus)["one"]))
    assert used / sum(map(len, texts)) == pytest.approx(0.3 * 0.98, abs=0.05)


def test_a_glob_chooses_files_and_hidden_ones_are_left_out(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    (tmp_path / "texts" / ".hidden.txt").write_text("hidden")
    (tmp_path / "texts" / "data.bin").write_bytes(b"\xff\xff")
    corpus = prepared(tmp_path, section({"kind": "text", "path": "te*/*.txt"}))
    assert "hidden" not in str(documents(corpus))


def test_a_linked_file_counts_once(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    for i in range(40):
        (tmp_path / "texts" / f"copy-{i}").symlink_to(tmp_path / "texts" / f"{i:03d}.txt")
    corpus = prepared(tmp_path, section({"kind": "text", "path": "texts"}))
    assert sorted(text for part in documents(corpus).values() for text in part) == sorted(texts)


@settings(max_examples=25, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=60),
    ascii_only=st.booleans(),
)
def test_json_lines_come_through_unchanged(
    lines: list[str], ascii_only: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("jsonl")
    rows = [json.dumps({"id": i, "body": line + "."}, ensure_ascii=ascii_only) for i, line in enumerate(lines)]
    (base / "texts.jsonl").write_text("\n".join(rows) + "\n\n", encoding="utf-8")
    data = section(
        {"kind": "jsonl", "path": "texts.jsonl", "field": "body"}, parts=HALVES, validation={"fraction": 0.2}
    )
    given_ = documents(prepared(base, data))
    assert given_["one"] + given_["two"] + given_[""] == [line + "." for line in lines]


def test_a_document_longer_than_a_chunk_is_one_document(tmp_path: Path) -> None:
    long = "no line ends here é " * 20_000
    rows = [json.dumps({"text": text}) for text in (long, "short", "short", "short")]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    (tmp_path / "b.txt").write_text("held out text")
    held_out = {"kind": "text", "path": "b.txt"}
    corpus = prepared(tmp_path, section({"kind": "jsonl", "path": "a.jsonl"}, validation=held_out))
    assert documents(corpus) == {"train": [long, "short", "short", "short"], "": ["held out text"]}


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_flat_tokens_are_used_where_they_lie(tmp_path: Path, dtype: str) -> None:
    ids = np.arange(1000) % 300
    ids.astype(np.dtype(dtype).newbyteorder("<")).tofile(tmp_path / "ids.bin")
    data = section({"kind": "tokens", "path": "ids.bin", "dtype": dtype}, parts=HALVES, validation={"fraction": 0.1})
    corpus = prepared(tmp_path, data, vocab_size=300)
    assert [path.name for path in corpus.folder.iterdir()] == ["manifest.json"]
    read = [content(corpus.part("one")), content(corpus.part("two")), content(corpus.validation)]
    assert [len(part) for part in read] == [449, 449, 99]
    # The last token of each is a target only.
    assert [part[-1] for part in read] == [ids[448], ids[898], ids[998]]
    assert read[0] == ids[:449].tolist()


def test_several_token_files_are_split_by_file(tmp_path: Path) -> None:
    for i in range(10):
        np.full(100, i, "<u2").tofile(tmp_path / f"{i}.bin")
    data = section({"kind": "tokens", "path": "*.bin", "dtype": "uint16"}, parts=HALVES, validation={"fraction": 0.2})
    corpus = prepared(tmp_path, data)
    parts = [set(content(tokens)) for tokens in (corpus.part("one"), corpus.part("two"), corpus.validation)]
    assert [len(part) for part in parts] == [4, 4, 2]
    assert set.union(*parts) == set(range(10))


def test_the_interpreters_library_is_real_text(tmp_path: Path) -> None:
    corpus = prepared(tmp_path, section({"kind": "python_source"}, parts=HALVES))
    assert corpus.manifest.validation.tokens > 100_000
    assert all(part.tokens > 5_000_000 for part in corpus.manifest.parts.values())
    row = corpus.part("one").batch(0, 0, 1, 256)[0]
    assert row.max() < 256
    assert any("def " in text for text in documents(corpus)["one"])


def test_validation_may_have_a_source_of_its_own(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    np.arange(100, dtype="<u2").tofile(tmp_path / "held.bin")
    held_out = {"kind": "tokens", "path": "held.bin", "dtype": "uint16"}
    corpus = prepared(tmp_path, section({"kind": "text", "path": "texts"}, validation=held_out))
    assert content(corpus.validation) == list(range(99))
    assert corpus.manifest.parts["train"].tokens == sum(len(text.encode()) + 1 for text in texts)


def stamp(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_prepared_data_is_used_again(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    train = {"kind": "text", "path": "texts"}
    corpus = prepared(tmp_path, section(train))
    before = stamp(corpus.folder)
    prepared(tmp_path, section(train, sequence_length=4, validation={"fraction": 0.02, "sequences": 3}))
    assert stamp(corpus.folder) == before
    assert open_corpus(corpus.folder).manifest == corpus.manifest


@pytest.mark.parametrize("change", ["seed", "parts", "vocabulary", "text", "order of parts"])
def test_prepared_data_is_made_anew_when_it_would_differ(tmp_path: Path, change: str) -> None:
    write_texts(tmp_path / "texts")
    train = {"kind": "text", "path": "texts"}
    data = section(train, parts=HALVES)
    before = prepared(tmp_path, data)
    if change == "parts":
        data = section(train, parts={"one": 0.4, "two": 0.5})
    if change == "order of parts":
        data = section(train, parts=dict(reversed(HALVES.items())))
    if change == "text":
        (tmp_path / "texts" / "000.txt").write_text("something else")
    again = prepared(tmp_path, data, seed=int(change == "seed"), vocab_size=257 if change == "vocabulary" else 256)
    assert again.manifest.key != before.manifest.key
    assert open_corpus(again.folder).manifest == again.manifest
    assert [path.name for path in tmp_path.iterdir() if "cache" in path.name] == ["cache"]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    data = section({"kind": "text", "path": "texts"})
    corpus = prepared(tmp_path, data)
    before = stamp(corpus.folder)
    (tmp_path / "texts" / "039.txt").write_bytes(b"\xff")
    with pytest.raises(GrowcError, match="GROW504"):
        prepared(tmp_path, data)
    with pytest.raises(GrowcError, match="GROW504"):
        prepared(tmp_path, data, cache="other")
    assert stamp(corpus.folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "texts"]


def test_leftovers_of_a_killed_run_are_cleared(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    for state in ("partial", "replaced"):
        (tmp_path / f".cache.{state}").mkdir()
        (tmp_path / f".cache.{state}" / "part-train.bin").write_bytes(b"half")
    prepared(tmp_path, section({"kind": "text", "path": "texts"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "texts"]


_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
from tests.data.specs import prepared, section
base = Path(sys.argv[1])
data = section({"kind": "text", "path": "texts"}, parts={"one": 0.5, "two": 0.5})
corpus = prepared(base, data, cache="there")
print(corpus.manifest.content, corpus.part("one").batch(7, 11, 4, 8).tolist())
"""


@pytest.mark.process
def test_another_process_gets_the_same_batches(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    here = prepared(tmp_path, section({"kind": "text", "path": "texts"}, parts=HALVES))
    root = Path(__file__).parents[2]
    for hash_seed in ("1", "2"):
        said = subprocess.run(
            [sys.executable, "-c", _IN_ANOTHER_PROCESS, str(tmp_path)],
            check=True, capture_output=True, text=True, cwd=root, env={"PYTHONHASHSEED": hash_seed},
        ).stdout  # fmt: skip
        assert said.strip() == f"{here.manifest.content} {here.part('one').batch(7, 11, 4, 8).tolist()}"


def test_the_hash_is_of_the_tokens(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    corpus = prepared(tmp_path, section({"kind": "text", "path": "texts"}))
    written = (corpus.folder / "part-train.bin").read_bytes()
    assert corpus.manifest.parts["train"].sha256 == hashlib.sha256(written).hexdigest()

"""Every mistake that data can hold ends in a diagnostic that names the place."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from growc.data import open_corpus
from growc.diagnostics import CODES, Diagnostic, ExitCode, GrowcError
from tests.data.specs import prepared, section

GOOD = [{"text": f"document {i} is long enough"} for i in range(100)]


def refused(base: Path, train: dict[str, Any], vocab_size: int = 256, **keys: Any) -> Diagnostic:
    """What is said of a `data` section."""
    with pytest.raises(GrowcError) as caught:
        prepared(base, section(train, **keys), vocab_size=vocab_size)
    (said,) = caught.value.diagnostics
    assert not list(base.glob(".cache*"))
    return said


@pytest.mark.parametrize("path", ["nowhere", "nowhere/at/all.txt", "a**b", "x" * 5000, "nul\0byte"])
def test_a_path_that_names_nothing(tmp_path: Path, path: str) -> None:
    said = refused(tmp_path, {"kind": "text", "path": path})
    assert said.code == "GROW501"
    assert CODES[said.code].exit is ExitCode.CANNOT_RUN


@pytest.fixture
def nobody() -> Iterator[None]:
    """For root, to whom nothing is forbidden, another effective user."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("forbidden", ["folder", "folder/a.txt"])
@pytest.mark.parametrize("path", ["folder/a.txt", "folder/*.txt", "folder"])
def test_what_may_not_be_read(forbidden: str, path: str) -> None:
    with TemporaryDirectory() as made:
        base = Path(made)
        (base / "folder").mkdir()
        (base / "folder" / "a.txt").write_text("secret " * 100)
        (base / forbidden).chmod(0)
        with pytest.raises(GrowcError, match=r"GROW50[12]"):
            prepared(base, section({"kind": "text", "path": path}))
        (base / forbidden).chmod(0o700)


@pytest.mark.parametrize("path", ["empty", "*.txt", "only-empty-files"])
def test_an_empty_corpus(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "only-empty-files").mkdir()
    (tmp_path / "only-empty-files" / "a").touch()
    assert refused(tmp_path, {"kind": "text", "path": path}).code == "GROW502"


def test_a_fraction_smaller_than_any_file(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text("x" * 1000)
    train = {"kind": "text", "path": "*.txt"}
    said = refused(tmp_path, train, parts={"most": 0.9, "little": 0.01})
    assert said.code == "GROW503"
    assert "'little'" in said.message
    said = refused(tmp_path, train, validation={"fraction": 0.001})
    assert said.code == "GROW503"
    assert "validation" in said.message


def test_a_part_shorter_than_a_window(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 1000)
    train = {"kind": "text", "path": "a.txt"}
    said = refused(tmp_path, train, sequence_length=100)
    assert said.code == "GROW503"
    assert "validation" in said.message
    assert "101" in said.message
    # Also when the data was prepared before.
    prepared(tmp_path, section(train))
    assert refused(tmp_path, train, sequence_length=100).code == "GROW503"


def test_a_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"fine\n" * 20_000 + "déjà".encode("latin-1") + b"\nfine\n" * 10)
    said = refused(tmp_path, {"kind": "text", "path": "a.txt"})
    assert said.code == "GROW504"
    assert "0xe9" in said.message
    assert said.span
    assert (Path(said.span.file).name, said.span.line, said.span.column) == ("a.txt", 20_001, 2)


def test_a_character_cut_by_the_end_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"fine\n" * 100 + "é".encode()[:1])
    said = refused(tmp_path, {"kind": "text", "path": "a.txt"})
    assert said.code == "GROW504"
    assert said.span
    assert (said.span.line, said.span.column) == (101, 1)


def test_a_binary_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc\ndef\0" * 100)
    said = refused(tmp_path, {"kind": "text", "path": "a.txt"})
    assert (said.code, said.span and (said.span.line, said.span.column)) == ("GROW504", (2, 4))


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        ('{"text": "a" "b"}', "GROW505", 14),
        ('["text"]', "GROW505", 1),
        ("null", "GROW505", 1),
        ("[" * 20_000, "GROW505", 1),
        ('{"n": ' + "9" * 5000 + "}", "GROW505", 1),
        ('{"content": "a"}', "GROW506", 1),
        ('{"text": null}', "GROW506", 1),
        ('{"text": ["a"]}', "GROW506", 1),
        (r'{"text": "a\u0000b"}', "GROW504", 1),
        (r'{"text": "a\ud83d"}', "GROW504", 1),
    ],
)
@pytest.mark.parametrize("number", [1, 3, 60])
def test_a_bad_line_of_json(tmp_path: Path, line: str, code: str, column: int, number: int) -> None:
    rows = [json.dumps(row) for row in GOOD]
    rows[number - 1] = line
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    said = refused(tmp_path, {"kind": "jsonl", "path": "a.jsonl"}, parts={"one": 0.5, "two": 0.5})
    assert said.code == code, said
    assert said.span
    assert (Path(said.span.file).name, said.span.line, said.span.column) == ("a.jsonl", number, column)


def test_a_line_of_json_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n{"text": "\xff"}\n')
    held_out = {"kind": "python_source"}
    said = refused(tmp_path, {"kind": "jsonl", "path": "a.jsonl"}, validation={"source": held_out})
    assert (said.code, said.span and (said.span.line, said.span.column)) == ("GROW504", (2, 11))


def test_a_missing_field_names_the_fields_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "content": "a"}\n' * 50)
    said = refused(tmp_path, {"kind": "jsonl", "path": "a.jsonl"})
    assert "'text'" in said.message
    assert "'content'" in said.help


def test_a_token_file_of_impossible_length(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(1001))
    assert refused(tmp_path, {"kind": "tokens", "path": "a.bin", "dtype": "uint16"}).code == "GROW507"
    (tmp_path / "a.bin").write_bytes(bytes(1002))
    assert refused(tmp_path, {"kind": "tokens", "path": "a.bin", "dtype": "uint32"}).code == "GROW507"


def test_a_token_file_of_another_format(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(1000, dtype=np.uint16))
    said = refused(tmp_path, {"kind": "tokens", "path": "a.npy", "dtype": "uint16"})
    assert said.code == "GROW508"
    assert "NumPy" in said.message
    header = np.zeros(256, dtype="<i4")
    header[:2] = (20240520, 1)
    (tmp_path / "b.bin").write_bytes(header.tobytes() + bytes(2000))
    said = refused(tmp_path, {"kind": "tokens", "path": "b.bin", "dtype": "uint16"})
    assert "llm.c" in said.message


def test_a_token_beyond_the_vocabulary(tmp_path: Path) -> None:
    ids = np.zeros(700_000, dtype="<u2")
    ids[600_001] = 300
    ids.tofile(tmp_path / "a.bin")
    said = refused(tmp_path, {"kind": "tokens", "path": "a.bin", "dtype": "uint16"}, parts={"a": 0.5, "b": 0.5})
    assert said.code == "GROW509"
    assert "token 300 at position 600001" in said.message


def test_a_tokenizer_larger_than_the_vocabulary(tmp_path: Path) -> None:
    said = refused(tmp_path, {"kind": "python_source"}, vocab_size=255)
    assert said.code == "GROW509"
    assert "255" in said.message


def test_validation_on_training_files(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("text " * 100)
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    train = {"kind": "text", "path": "[ab].txt"}
    said = refused(tmp_path, train, validation={"kind": "text", "path": "link.txt"})
    assert said.code == "GROW513"
    assert "b.txt" in said.message


def corpus_of_tokens(base: Path) -> Path:
    np.zeros(1000, "<u2").tofile(base / "ids.bin")
    return prepared(base, section({"kind": "tokens", "path": "ids.bin", "dtype": "uint16"})).folder


def test_prepared_data_that_was_tampered_with(tmp_path: Path) -> None:
    folder = corpus_of_tokens(tmp_path)
    (tmp_path / "ids.bin").write_bytes(bytes(1998))
    with pytest.raises(GrowcError, match=r"GROW514.*ids.bin is missing or shorter"):
        open_corpus(folder)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(GrowcError, match=r"GROW514.*not a manifest"):
        open_corpus(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(GrowcError, match=r"GROW514.*No such file"):
        open_corpus(folder)


def test_damaged_prepared_data_is_made_anew(tmp_path: Path) -> None:
    folder = corpus_of_tokens(tmp_path)
    (folder / "manifest.json").write_text("{}")
    assert len(open_corpus(corpus_of_tokens(tmp_path)).validation) == 20


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.tex").touch()
    assert refused(tmp_path, {"kind": "python_source"}).code == "GROW514"
    assert (tmp_path / "cache" / "thesis.tex").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GrowcError, match=r"GROW515.*Not a directory"):
        prepared(tmp_path, section({"kind": "python_source"}), cache="file/cache")


def test_a_place_that_is_too_small(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        said = refused(tmp_path, {"kind": "python_source"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert said.code == "GROW515"
    assert "File too large" in said.message
    assert not list(tmp_path.iterdir())

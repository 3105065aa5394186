"""Text from files as a stream of small chunks, so that no document has to fit in memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

from growc.data.files import reading
from growc.data.split import Piece
from growc.diagnostics import Span, fail
from growc.spec.schema import Jsonl, PythonSource, Text

CHUNK = 1 << 16
"""Bytes read at a time: few enough that a tokenizer can work on several chunks of one long file at once."""

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
"""What a JSON string may hold and UTF-8 text does not: NUL, and halves of surrogate pairs."""


class Chunk(NamedTuple):
    """Some text of a document, and whether the document ends with it. Cut after lines where possible."""

    text: str
    last: bool


def read_chunks(corpus: Text | Jsonl | PythonSource, piece: Piece) -> Iterator[Chunk]:
    """The documents of one piece of a corpus, chunk by chunk.

    A text file is one document; so is each line of a JSON lines file. Of the interpreter's library, the few
    files that are not UTF-8 (they test encodings) are passed over.

    Raises:
        GrowcError: GROW501, GROW504, GROW505 or GROW506, with the file, line and column.
    """
    match corpus:
        case Text():
            return _text(piece)
        case Jsonl(field=field):
            return _json_lines(piece, field)
        case PythonSource():
            return _python(piece)


def _text(piece: Piece) -> Iterator[Chunk]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    carried = ""
    offset = piece.start
    with reading(piece.path) as file:
        file.seek(offset)
        while block := file.read(min(CHUNK, piece.stop - offset)):
            if b"\0" in block:
                _not_text(piece.path, offset + block.index(b"\0"), "a NUL byte")
            offset += len(block)
            try:
                carried += decoder.decode(block, final=offset == piece.stop)
            except UnicodeDecodeError as error:
                # The decoder holds back the first bytes of a character that the last block cut in two.
                place = offset - len(error.object) + error.start
                _not_text(piece.path, place, f"the byte 0x{error.object[error.start]:02x}")
            cut = carried.rfind("\n") + 1 or len(carried)
            yield Chunk(carried[:cut], last=False)
            carried = carried[cut:]
    yield Chunk(carried, last=True)


def _python(piece: Piece) -> Iterator[Chunk]:
    with reading(piece.path) as file:
        source = file.read()
    try:
        text = source.decode()
    except UnicodeDecodeError:
        return
    if "\0" not in text:
        yield from _chunks(text)


def _json_lines(piece: Piece, field: str) -> Iterator[Chunk]:
    offset = piece.start
    with reading(piece.path) as file:
        file.seek(offset)
        while offset < piece.stop and (line := file.readline()):
            if not line.isspace():
                yield from _chunks(_field(piece.path, offset, line, field))
            offset += len(line)


def _field(path: Path, offset: int, line: bytes, field: str) -> str:
    """The text in one line of JSON that starts at `offset`."""
    try:
        document: object = json.loads(line.decode())
    except UnicodeDecodeError as error:
        _not_text(path, offset + error.start, f"the byte 0x{line[error.start]:02x}")
    except json.JSONDecodeError as error:
        place = place_of(path, offset)
        fail("GROW505", f"not JSON: {error.msg}", span=Span(place.file, place.line, error.colno))
    except (ValueError, RecursionError) as error:  # a number of too many digits, or too many brackets
        fail("GROW505", f"JSON that cannot be read: {error}", span=place_of(path, offset))
    if not isinstance(document, dict):
        fail(
            "GROW505",
            f"a line holds {type(document).__name__} where an object was expected",
            help=f'each line is an object such as {{"{field}": "..."}}',
            span=place_of(path, offset),
        )
    text = document.get(field)
    if text is None:
        known = ", ".join(map(repr, islice(document, 8))) or "none"
        fail("GROW506", f"no field {field!r}", help=f"fields here: {known}", span=place_of(path, offset))
    if not isinstance(text, str):
        fail("GROW506", f"{field!r} is {type(text).__name__}, not a string", span=place_of(path, offset))
    if found := _NOT_TEXT.search(text):
        _not_text(path, offset, f"the character {found.group()!a}")
    return text


def _chunks(text: str) -> Iterator[Chunk]:
    """One document's text, cut after lines where it can be."""
    start = 0
    while len(text) - start > CHUNK:
        stop = text.rfind("\n", start, start + CHUNK) + 1 or start + CHUNK
        yield Chunk(text[start:stop], last=False)
        start = stop
    yield Chunk(text[start:], last=True)


def _not_text(path: Path, offset: int, found: str) -> NoReturn:
    where = place_of(path, offset)
    fail("GROW504", f"{found} where UTF-8 text was expected", help="leave binary files out", span=where)


def place_of(path: Path, offset: int) -> Span:
    """The line and column of a byte offset. Reads the file up to there, so it is for messages only."""
    line, column = 1, 1
    with reading(path) as file:
        while offset > 0 and (block := file.read(min(1 << 20, offset))):
            offset -= len(block)
            line += block.count(b"\n")
            newline = block.rfind(b"\n")
            column = len(block) - newline if newline >= 0 else column + len(block)
    return Span(str(path), line, column)

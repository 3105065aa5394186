"""From a file to text that YAML may contain: bounded, UTF-8, and free of characters that no editor shows."""

from __future__ import annotations

import re
from pathlib import Path

from growc.diagnostics import Span, fail

MAX_BYTES = 512 * 1024

# What YAML calls unprintable, and what YAML 1.1 (so PyYAML) takes for line ends and YAML 1.2 does not.
_UNFIT = re.compile("[^\x09\x0a\x0d\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def read(path: Path) -> str:
    """The text of a spec, without a byte order mark.

    Raises:
        GrowcError: the file cannot be read, is too large, or is no text.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        fail("GROW001", f"cannot read {file}: {why}", help="check the path", span=None)
    if len(data) > MAX_BYTES:
        help = "a spec is a few kilobytes; is this the right file?"
        fail("GROW002", f"{file} is larger than {MAX_BYTES // 1024} KiB", help=help)
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        fail("GROW003", message, help="save the file as UTF-8", span=_place(file, before))
    check_characters(text, Span(file, 1, 1))
    return text


def check_characters(text: str, start: Span) -> None:
    """Refuse what YAML calls unprintable; `start` is the place of the first character.

    Raises:
        GrowcError: there is such a character.
    """
    if unfit := _UNFIT.search(text):
        place = _place(start.file, text[: unfit.start()])
        column = place.column + (start.column - 1 if place.line == 1 else 0)
        span = Span(start.file, start.line + place.line - 1, column)
        help = "remove it, or write it as an escape in double quotes"
        fail("GROW003", f"the character U+{ord(unfit[0]):04X} may not stand in YAML", help=help, span=span)


def _place(file: str, before: str) -> Span:
    """The place right after `before`."""
    lines = re.split("\r\n|\r|\n", before)
    return Span(file, len(lines), len(lines[-1]) + 1)

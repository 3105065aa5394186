"""The human form of a diagnostic: place, code, message, the line of text with carets, and help."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from growc.diagnostics.diagnostic import Diagnostic, Severity, Span

TAB = 4
WIDTH = 100
"""Columns of source text that are shown; longer lines are cut around the caret."""

_LONGEST_FILE = 4 * 1024 * 1024


def render(diagnostic: Diagnostic, texts: Mapping[str, str]) -> str:
    """`file:line:column  CODE  message`, the source line with carets, and `help: ...`.

    Args:
        diagnostic: what to show.
        texts: texts that need not be read, by the `file` of spans; `--set` is in no file.
    """
    span = diagnostic.span
    place = f"{_shown(span.file)}:{span.line}:{span.column}  " if span else ""
    severity = "" if diagnostic.severity is Severity.ERROR else f"{diagnostic.severity}: "
    lines = [f"{place}{diagnostic.code}  {severity}{_indented(diagnostic.message)}"]
    if span and (source := _line(span, texts)) is not None:
        lines += excerpt(source, span)
    if diagnostic.help:
        lines.append(f"   help: {_indented(diagnostic.help)}")
    return "\n".join(lines)


def excerpt(source: str, span: Span) -> list[str]:
    """The source line with its number, and carets under the span; `WIDTH` columns of it at most."""
    cells = _cells(source)
    # The place may be just past the end of the line, where something is missing.
    start = min(span.column - 1, len(cells))
    first, last = _window([width for _, width in cells], start)
    lead, tail = "…" if first else "", "…" if last < len(cells) else ""
    shown = "".join(text for text, _ in cells[first:last])
    indent = len(lead) + sum(width for _, width in cells[first:start])
    carets = sum(width for _, width in cells[start : min(start + span.length, last)])
    return [
        f"{span.line:>5} | {lead}{shown}{tail}".rstrip(),
        f"{'':>5} | {' ' * indent}{'^' * max(carets, 1)}",
    ]


def _cells(source: str) -> list[tuple[str, int]]:
    """For each character what is printed for it, and how many columns of a terminal that takes."""
    cells: list[tuple[str, int]] = []
    column = 0
    for character in source:
        if character == "\t":
            width = TAB - column % TAB
            cell = " " * width
        else:
            cell = character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
            wide = unicodedata.east_asian_width(cell) in ("W", "F")
            width = 0 if unicodedata.combining(cell) else 2 if wide else 1
        column += width
        cells.append((cell, width))
    return cells


def _window(widths: list[int], start: int) -> tuple[int, int]:
    """The characters to show, so that they fit and the one at `start` is among them."""
    if sum(widths) <= WIDTH:
        return 0, len(widths)
    first, room = start, WIDTH // 3
    while first > 0 and widths[first - 1] <= room:
        first -= 1
        room -= widths[first]
    last, room = first, WIDTH
    while last < len(widths) and widths[last] <= room:
        room -= widths[last]
        last += 1
    return first, last


def _line(span: Span, texts: Mapping[str, str]) -> str | None:
    """The line of a span; None if there is no such text or line."""
    text = texts.get(span.file)
    if text is None:
        try:
            with Path(span.file).open("rb") as stream:
                text = stream.read(_LONGEST_FILE).decode(errors="replace").removeprefix("\ufeff")
        except (OSError, ValueError):
            return None
    # As YAML does, and unlike splitlines(), which also ends lines at form feeds and Unicode's separators.
    lines = re.split("\r\n|\r|\n", text)
    return lines[span.line - 1] if span.line <= len(lines) else None


def _indented(text: str) -> str:
    """Further lines of a text lined up under its first."""
    return "\n         ".join(map(_shown, text.split("\n")))


def _shown(text: str) -> str:
    """The text without characters that a terminal would act upon."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

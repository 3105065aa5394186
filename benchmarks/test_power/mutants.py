"""Draw mutants: one flipped comparison, changed constant, shifted index or flipped sign each.

Left alone are annotations, texts of messages, docstrings, `__str__` and what is declared of fields (bounds and
descriptions), since a change there is no fault of what growc computes.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("operators", "programs", "growth", "checks", "run")
EACH = 5
"""Mutants of each folder."""

FLIPPED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}  # fmt: skip
"""Kind of comparison -> how it is written, and what takes its place."""
SKIPPED_CALLS = {"Field", "Problem", "fail", "Diagnostic", "Paper", "Example"}


@dataclass(frozen=True)
class Mutant:
    """A change of one line: `before` (the whole line) becomes `after`; `line` counts from 1."""

    file: str
    line: int
    kind: str
    before: str
    after: str

    def apply(self, tree: Path) -> str:
        """Write the changed file into a checkout; returns what was there.

        Raises:
            LookupError: the line is not there any more.
        """
        path = tree / self.file
        whole = path.read_text(encoding="utf-8")
        lines = whole.splitlines(keepends=True)
        places = [number for number, text in enumerate(lines) if text.rstrip("\n") == self.before]
        if not places:
            raise LookupError(f"{self.file}: {self.before.strip()}")
        place = min(places, key=lambda number: abs(number - self.line + 1))
        lines[place] = self.after + "\n"
        path.write_text("".join(lines), encoding="utf-8")
        return whole


def draw(root: Path, seed: int) -> list[Mutant]:
    """The mutants of `seed` over the package in the checkout `root`."""
    chosen: list[Mutant] = []
    for folder in FOLDERS:
        found = [m for path in sorted((root / "growc" / folder).rglob("*.py")) for m in _mutants(path, root)]
        kinds = sorted({mutant.kind for mutant in found})
        choice = random.Random(f"{seed}/{folder}")
        for number in range(EACH):  # kinds in turn: of constants there are most
            of_kind = [m for m in found if m.kind == kinds[number % len(kinds)]]
            chosen.append(choice.choice(of_kind))
    return chosen


def _mutants(path: Path, root: Path) -> Iterator[Mutant]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in _living(ast.parse(text)):
        for kind, part, start, end, new in _changes(node, lines):
            line = lines[part - 1]
            after = line[:start] + new + line[end:]
            if after != line:
                yield Mutant(str(path.relative_to(root)), part, kind, line, after)


def _living(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node that computes something."""
    match node:
        case ast.JoinedStr() | ast.FunctionDef(name="__str__" | "__repr__"):
            return
        case ast.Call(func=ast.Name(id=name)) if name in SKIPPED_CALLS:
            return
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
        case ast.AnnAssign(value=value):
            if value is not None:
                yield from _living(value)
            return
        case ast.FunctionDef():
            defaults = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
            children: list[ast.AST] = [*defaults, *node.body]
        case ast.ClassDef():
            children = [*node.body]
        case _:
            children = list(ast.iter_child_nodes(node))
    yield node
    for child in children:
        yield from _living(child)


def _changes(node: ast.AST, lines: list[str]) -> Iterator[tuple[str, int, int, int, str]]:
    """Kind, line, first and last column, and the new text. Columns of `ast` are bytes: lines with others are left."""
    line = getattr(node, "lineno", 0)
    if not line or not lines[line - 1].isascii():
        return
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if left.end_lineno == right.lineno == line:
            assert left.end_col_offset is not None
            between = lines[line - 1][left.end_col_offset : right.col_offset]  # parentheses may stand there too
            old, new = FLIPPED[type(op)]
            yield "comparison", line, left.end_col_offset, right.col_offset, between.replace(old, new, 1)
        case ast.Constant(value=bool(value)):
            yield "constant", line, node.col_offset, node.end_col_offset or 0, str(not value)
        case ast.Constant(value=int(value)):
            yield "constant", line, node.col_offset, node.end_col_offset or 0, str(value + 1)
        case ast.Constant(value=float(value)):
            yield "constant", line, node.col_offset, node.end_col_offset or 0, repr(value * 2 if value else 1.0)
        case ast.Subscript(slice=ast.Constant(value=int(value)) as index) if index.end_lineno == index.lineno:
            new = value + 1
            yield "index", index.lineno, index.col_offset, index.end_col_offset or 0, str(new)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right) if left.end_lineno == right.lineno:
            if isinstance(left, ast.Constant) and isinstance(left.value, str):
                return
            assert left.end_col_offset is not None
            between = lines[right.lineno - 1][left.end_col_offset : right.col_offset]
            old, new = ("+", "-") if isinstance(op, ast.Add) else ("-", "+")
            yield "sign", right.lineno, left.end_col_offset, right.col_offset, between.replace(old, new)
        case ast.UnaryOp(op=ast.USub(), operand=operand) if operand.lineno == line:
            yield "sign", line, node.col_offset, operand.col_offset, ""
        case _:
            return

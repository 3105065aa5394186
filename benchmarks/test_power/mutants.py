"""Draw small faults: one flipped comparison, changed constant, shifted index or flipped sign each.

A flipped comparison is `<` for `<=`, `==` for `!=`, `in` for `not in`, `is` for `is not`, and the other way round. A
whole number n becomes n + 1, another number doubles, True becomes False; an index moves by one; `+` becomes `-`, and a
minus before a value is dropped. Only that text changes: the rest of the file is kept byte for byte.

Left alone, since a change there is no fault in what growc computes: annotations, `Literal[...]`, `if TYPE_CHECKING`,
docstrings, texts of messages (f-strings, `format`, `%`), `__str__` and `__repr__`, and what is said of fields (bounds
and descriptions) and of papers. Chains of comparisons, and comparisons and sums over several lines, are left out too.
"""

from __future__ import annotations

import ast
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
    """In one line, `text`, what stands at `col` turns from `before` to `after`; lines count from 1, columns from 0."""

    file: str
    line: int
    col: int
    kind: str
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"

    @property
    def folder(self) -> str:
        """The folder under growc/."""
        return Path(self.file).parts[1]

    def place(self, tree: Path) -> int | None:
        """The number from 0 of the line in a checkout, the nearest where several read the same; None: it is gone."""
        path = tree / self.file
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        places = [number for number, text in enumerate(lines) if text == self.text]
        return min(places, key=lambda number: abs(number - self.line + 1), default=None)

    def apply(self, tree: Path) -> bytes:
        """Write the changed file into a checkout; returns what was there.

        Raises:
            LookupError: the line is not there any more.
        """
        path, place = tree / self.file, self.place(tree)
        if place is None:
            raise LookupError(f"{self}: {self.text.strip()}")
        whole = path.read_bytes()
        lines = whole.split(b"\n")
        lines[place] = (self.text[: self.col] + self.after + self.text[self.col + len(self.before) :]).encode()
        path.write_bytes(b"\n".join(lines))
        return whole


def draw(repository: Path, commit: str, seed: int) -> tuple[list[Mutant], list[Mutant]]:
    """The mutants of `seed` over the package as it stood at `commit`; and those that were drawn but are gone since.

    A mutant is gone when its line is in the checkout `repository` no more; the next of its kind takes its place.
    """
    chosen: list[Mutant] = []
    gone: list[Mutant] = []
    for folder in FOLDERS:
        found = list(_of_folder(repository, commit, f"growc/{folder}"))
        kinds = sorted({mutant.kind for mutant in found})
        choice = random.Random(f"{seed}/{folder}")
        for number in range(EACH):  # kinds in turn: of constants there are most
            of_kind = [mutant for mutant in found if mutant.kind == kinds[number % len(kinds)]]
            mutant, others = choice.choice(of_kind), random.Random(f"{seed}/{folder}/{number}")
            while mutant in chosen or mutant.place(repository) is None:
                gone += [mutant] if mutant not in chosen else []
                of_kind.remove(mutant)
                mutant = others.choice(of_kind)
            chosen.append(mutant)
    return chosen, gone


def _of_folder(repository: Path, commit: str, folder: str) -> Iterator[Mutant]:
    names = _git(repository, "ls-tree", "-r", "--name-only", commit, folder).splitlines()
    for path in sorted(map(PurePosixPath, names)):
        if path.suffix == ".py":
            yield from _mutants(str(path), _git(repository, "show", f"{commit}:{path}"))


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


def _mutants(file: str, source: str) -> Iterator[Mutant]:
    lines = source.split("\n")
    for node in _living(ast.parse(source)):
        for kind, number, start, end, new in _changes(node, lines):
            text = lines[number - 1]
            if new != text[start:end]:
                yield Mutant(file, number, start, kind, text[start:end], new, text)


def _living(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that computes something."""
    match node:
        case ast.JoinedStr() | ast.FunctionDef(name="__str__" | "__repr__"):
            return
        case ast.Call(func=ast.Name(id=name)) if name in SKIPPED_CALLS:
            return
        case ast.Call(func=ast.Attribute(attr="format")) | ast.BinOp(left=ast.Constant(value=str()), op=ast.Mod()):
            return
        case ast.Subscript(value=ast.Name(id="Literal")) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
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
            yield "index", index.lineno, index.col_offset, index.end_col_offset or 0, str(value + 1)
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

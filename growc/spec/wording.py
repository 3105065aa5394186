"""How values and PyYAML's complaints are put into words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from yaml import MarkedYAMLError
from yaml.error import Mark

from growc.spec.nodes import ListNode, MapNode, Node, Scalar

# How much of the user's text a message repeats, and how many names it lists or compares with a word.
_LONGEST = 60
_MOST = 12
_COMPARED = 300


def quoted(text: str) -> str:
    """The text in backticks, shortened, with what a terminal would act upon escaped."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: _LONGEST + 1])
    return f"`{shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + '…'}`"


def described(node: Node) -> str:
    """What a value is, for the end of "must be a number, but is ..."."""
    match node:
        case MapNode():
            return "a mapping"
        case ListNode():
            return "a list"
        case Scalar(None):
            return "empty"
        case Scalar(bool() as truth):
            return f"`{str(truth).lower()}`"
        case Scalar(str() as text):
            return f"the text {quoted(text)}"
        case Scalar(number):
            return f"the number {quoted(str(number))}"


def listed(words: Iterable[str], last: str = "and") -> str:
    """`a`, `b` and `c`."""
    words = list(words)
    if len(words) > _MOST:
        return f"{', '.join(map(quoted, words[:_MOST]))} and {len(words) - _MOST} more"
    *rest, end = map(quoted, words)
    return f"{', '.join(rest)} {last} {end}" if rest else end


def guess(word: str, known: Iterable[str]) -> str:
    """Ask "did you mean ...?" where one of `known` is near, else list them, if there are any."""
    known = list(known)[:_COMPARED]
    if near := difflib.get_close_matches(word[:_LONGEST], known, n=1):
        return f"did you mean {quoted(near[0])}?"
    return f"there is {listed(known)}" if known else ""


def syntax_error(error: MarkedYAMLError) -> tuple[Mark, str, str, str]:
    """Where, code, message and help of PyYAML's complaint."""
    problem, context = error.problem or "", error.context or ""
    mark = error.problem_mark or error.context_mark
    assert mark is not None
    if "'\\t'" in problem and "cannot start any token" in problem:
        return mark, "GROW005", "a tab stands where YAML allows only spaces", "indent with spaces"
    if "undefined alias" in problem:
        name = problem.partition("'")[2].rstrip("'")
        return (
            mark,
            "GROW011",
            f"`*{name}` repeats a value that nothing before it has named",
            f"name one with `&{name}`",
        )
    if "another document" in problem:
        return mark, "GROW008", "a second document starts here", "one file is one spec; remove the `---`"
    code = "GROW004"
    if "end of stream" in problem and error.context_mark is not None:
        return error.context_mark, code, "the quote that opens here is never closed", "close it"
    if "cannot start any token" in problem:
        return mark, code, f"a value cannot start with {problem.split()[2]}", "put the value in quotes"
    if "could not find expected ':'" in problem and error.context_mark is not None:
        return error.context_mark, code, "this key lacks its `:`", "write `key: value`, on one line"
    for words, (message, help) in _PROBLEMS.items():
        if words in problem or words in context:
            return mark, code, message, help
    return mark, code, problem, "see https://yaml.org/spec/1.2.2 for what YAML allows"


_PROBLEMS = {
    "mapping values are not allowed here": (
        "a `:` is not allowed here",
        "check the indentation, and quote a text that contains `: `",
    ),
    "expected <block end>": (
        "this line does not fit the lines above it",
        "keys of one mapping and items of one list start in the same column",
    ),
    "but found another": ("there is more than one value here", "remove one"),
    "expected ',' or ']'": (
        "the `[` before this is not closed",
        "separate items by commas and close with `]`",
    ),
    "expected ',' or '}'": (
        "the `{` before this is not closed",
        "separate entries by commas and close with `}`",
    ),
    "expected the node content": (
        "a value is missing here",
        "write a value, or remove what stands before it",
    ),
    "sequence entries are not allowed here": ("a list cannot start here", "start it on a line of its own"),
    "duplicate anchor": ("this anchor's name is taken already", "give each `&name` another name"),
    "unknown escape character": (
        "this is no escape of YAML",
        "write a backslash as `\\\\`, or use single quotes, which know no escapes",
    ),
    "<document start>": (
        "this does not belong to the value before it",
        "one file holds one value; check the indentation",
    ),
}

"""Scalars by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).

PyYAML's own resolver is YAML 1.1: there `3e-4` is a text, `on` is true, and `017` is fifteen.
"""

from __future__ import annotations

import re

NULL = "tag:yaml.org,2002:null"
BOOL = "tag:yaml.org,2002:bool"
INT = "tag:yaml.org,2002:int"
FLOAT = "tag:yaml.org,2002:float"
STR = "tag:yaml.org,2002:str"
SEQ = "tag:yaml.org,2002:seq"
MAP = "tag:yaml.org,2002:map"
MERGE = "tag:yaml.org,2002:merge"

LONGEST_NUMBER = 400
"""Characters in a number; the largest float has 309 digits, and Python refuses integers past 4300."""

_PATTERNS = (
    (NULL, re.compile(r"~|null|Null|NULL|")),
    (BOOL, re.compile(r"true|True|TRUE|false|False|FALSE")),
    (INT, re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    (FLOAT, re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")),
    (FLOAT, re.compile(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")),
    (MERGE, re.compile(r"<<")),
)


def tag_of(text: str) -> str:
    """The tag that a plain (unquoted) scalar has by its text."""
    return next((tag for tag, pattern in _PATTERNS if pattern.fullmatch(text)), STR)


def value_of(tag: str, text: str) -> bool | int | float | str | None:
    """The value of a scalar whose text fits its tag.

    Raises:
        ValueError: the number is too long, or too large for a float.
    """
    if tag == NULL:
        return None
    if tag == BOOL:
        return text.lower() == "true"
    if tag in (INT, FLOAT) and len(text) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} characters is longer than {LONGEST_NUMBER}")
    if tag == INT:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if tag == FLOAT:
        if text.lstrip("+-").lower() in (".inf", ".nan"):
            return float(text.replace(".", "", 1))
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"{text} is too large for a 64-bit number")
        return value
    return text

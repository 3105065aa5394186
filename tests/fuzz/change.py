"""Random changes of bytes and of JSON values; the same generator makes the same changes."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any, cast

INTERESTING: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 8, 16, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.0, 1e308, 1e999,
    "", "a", "0", "..", "../a", "/", "\0", "\ud800", "é", "²", "nan", "F32", "BF16", "I64", "growc", "qwen3_moe",
    [], {}, [[]], [0], [1, 2], {"a": 1}, {"": None},
)  # fmt: skip
PIECES = (
    b"\0",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b'"',
    b":",
    b"-",
    b"0",
    b"9",
    b"e",
    b".",
    b" ",
    b"\n",
    b"\\u",
    b"null",
)

Holder = dict[str, Any] | list[Any]


def bytes_changed(data: bytes, rng: Random) -> bytes:
    """Some bytes, changed in one to three places."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        few = min(end, at + rng.randint(0, 8))
        match rng.randrange(8):
            case 0 if at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 1 if at < len(data):
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 2:
                data = data[:at] + rng.choice(PIECES) + data[at:]
            case 3:
                data = data[:at] + data[few:]
            case 4:
                data = data[:few] + data[at:few] + data[few:]
            case 5:
                data = data[:at] + rng.choice(PIECES) + data[few:]
            case 6 if rng.random() < 0.2:
                data = data[:at]
            case _:
                data = data[:at] + bytes(rng.randrange(256) for _ in range(rng.randint(0, 3))) + data[few:]
    return data


def value_changed(value: Any, rng: Random) -> Any:
    """A JSON value, changed in one to three places."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holders = _holders(value)
        if not holders or rng.random() < 0.01:
            return rng.choice(INTERESTING)
        _change(rng.choice(holders), rng)
    return value


def written(value: Any, rng: Random) -> bytes:
    """JSON text in one of its spellings, rarely with a key given twice."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.9, indent=rng.choice((None, None, 1)))
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.05 and isinstance(value, dict) and value:
        key, other = rng.choice([*value]), rng.choice([*value.values()])
        data = data.rstrip()[:-1] + f", {json.dumps(key)}: {json.dumps(other)}}}".encode()
    return data


def _holders(value: Any) -> list[Holder]:
    """Every mapping and list that has something in it."""
    found: list[Holder] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list) and one:
            found.append(cast(Holder, one))
            waiting += one.values() if isinstance(one, dict) else one
    return found


def _change(holder: Holder, rng: Random) -> None:
    keys: list[Any] = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
    if not keys:
        return
    key, other = rng.choice(keys), rng.choice(keys)
    at: Any = holder
    match rng.randrange(8):
        case 0:
            del at[key]
        case 1:
            at[key], at[other] = at[other], at[key]
        case 2:
            at[key] = copy.deepcopy(at[other])
        case 3 if isinstance(holder, dict):
            holder[_misspelt(key, rng)] = holder.pop(key)
        case 4 if isinstance(holder, dict):
            holder[_misspelt(key, rng)] = copy.deepcopy(holder[key])
        case 4:
            at.insert(key, copy.deepcopy(at[other]))
        case 5:
            at[key] = [at[key]] if rng.random() < 0.5 else {str(key): at[key]}
        case _:
            at[key] = _near(at[key], rng) if rng.random() < 0.6 else copy.deepcopy(rng.choice(INTERESTING))


def _near(value: Any, rng: Random) -> Any:
    """Something much like a plain value."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, value * 2, value // 2, -value, value + 4, float(value), str(value)))
    if isinstance(value, float):
        return rng.choice((-value, value * 2, 1 / value if value else 1.0, int(min(value, 1e9)), str(value)))
    if isinstance(value, str):
        return _misspelt(value, rng)
    return rng.choice(INTERESTING)


def _misspelt(text: str, rng: Random) -> str:
    at = rng.randint(0, len(text))
    match rng.randrange(5):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text[:at] + rng.choice("aZ0_. /²é\0\ud800") + text[at:]
        case 2:
            return text[: at - 1] + text[at : at + 1] + text[at - 1 : at] + text[at + 1 :] if at else text.upper()
        case 3:
            digits = [index for index, character in enumerate(text) if character.isdigit()]
            where = rng.choice(digits) if digits else at
            return text[:where] + rng.choice("0123456789") + text[where + 1 :]
        case _:
            return rng.choice(("", text * 2, text + ".", text.upper()))

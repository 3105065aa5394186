"""Weight files that the safetensors format forbids."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.checkpoint.mutations.scene import Case, Mutation, Spoil, Weights

Change = Callable[[Weights], None]
Describe = Callable[[dict[str, Any]], Any]

DEEP = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
HUGE = 10**400


def _raw(change: Callable[[Weights], bytes]) -> Change:
    """The header's text becomes what `change` gives."""

    def apply(weights: Weights) -> None:
        weights.header = change(weights)

    return apply


def _announced(length: Callable[[int, int], int]) -> Change:
    """The announced length becomes a function of the header's and the file's length."""

    def apply(weights: Weights) -> None:
        weights.length = length(len(weights.text), 8 + len(weights.text) + len(weights.data))

    return apply


def _data(change: Callable[[Weights], bytes]) -> Change:
    def apply(weights: Weights) -> None:
        weights.data = change(weights)

    return apply


def _field(key: str, change: Callable[[Any], Any]) -> Change:
    """One field of some tensor's description becomes a function of what it was."""

    def apply(weights: Weights) -> None:
        _, entry = weights.some()
        entry[key] = change(entry[key])

    return apply


def _entry(change: Describe) -> Change:
    """The description of some tensor becomes a function of what it was."""

    def apply(weights: Weights) -> None:
        name, entry = weights.some()
        weights.fields[name] = change(entry)

    return apply


def _metadata(value: Any) -> Change:
    def apply(weights: Weights) -> None:
        weights.fields["__metadata__"] = value

    return apply


def _named(name: str) -> Change:
    """Some tensor gets a name that none may have."""

    def apply(weights: Weights) -> None:
        old, _ = weights.some()
        weights.fields = {name if key == old else key: value for key, value in weights.fields.items()}

    return apply


def _neighbour(shift: int) -> Change:
    """Some tensor's range is moved by some bytes: an overlap on one side, a hole on the other."""
    return _field("data_offsets", lambda offsets: [offset + shift for offset in offsets])


def _twice(weights: Weights) -> bytes:
    name, entry = weights.some()
    more = json.dumps({name: entry}).encode()
    return weights.text[:-1] + b", " + more[1:]


def _half_twice(weights: Weights) -> bytes:
    name, entry = weights.some()
    old = json.dumps(entry["dtype"]).encode()
    return weights.text.replace(
        json.dumps(name).encode() + b": {", json.dumps(name).encode() + b': {"dtype": ' + old + b", "
    )


def _cut(part: float) -> Change:
    return _data(lambda weights: weights.data[: int(len(weights.data) * part)])


def _same_bytes(weights: Weights) -> None:
    (first, entry), name = weights.some(), "more.weight"
    weights.fields[name] = dict(entry)
    assert first != name


FORMAT: dict[str, Change] = {
    "length 0": _announced(lambda _header, _file: 0),
    "length 1": _announced(lambda _header, _file: 1),
    "length one less": _announced(lambda header, _file: header - 1),
    "length one more": _announced(lambda header, _file: header + 1),
    "length of the file": _announced(lambda _header, file: file),
    "length beyond the file": _announced(lambda _header, file: file - 7),
    "length 2**62": _announced(lambda _header, _file: 2**62),
    "length all ones": _announced(lambda _header, _file: 2**64 - 1),
    "length beyond the limit": _announced(lambda _header, _file: 100_000_001),
    "empty header": _raw(lambda _weights: b""),
    "empty object with data": _raw(lambda _weights: b"{}"),
    "list": _raw(lambda _weights: b"[]"),
    "null": _raw(lambda _weights: b"null"),
    "number": _raw(lambda _weights: b"17"),
    "leading space": _raw(lambda weights: b" " + weights.text),
    "leading newline": _raw(lambda weights: b"\n" + weights.text),
    "byte order mark": _raw(lambda weights: b"\xef\xbb\xbf" + weights.text),
    "UTF-16": _raw(lambda weights: weights.text.decode().encode("utf-16")),
    "bad UTF-8": _raw(lambda weights: weights.text.replace(b"weight", b"weigh\xff", 1)),
    "overlong UTF-8": _raw(lambda weights: weights.text.replace(b"weight", b"weigh\xc1\xb4", 1)),
    "trailing NUL": _raw(lambda weights: weights.text + b"\0"),
    "trailing comma": _raw(lambda weights: weights.text[:-1] + b",}"),
    "trailing object": _raw(lambda weights: weights.text + b"{}"),
    "comment": _raw(lambda weights: weights.text + b"/* */"),
    "single quotes": _raw(lambda weights: weights.text.replace(b'"', b"'")),
    "deep nesting": _raw(lambda _weights: DEEP),
    "half": _raw(lambda weights: weights.text[: len(weights.text) // 2]),
    "tensor twice": _raw(_twice),
    "field twice": _raw(_half_twice),
    "raw newline in a name": _raw(lambda weights: weights.text.replace(b"weight", b"wei\nght", 1)),
    "lone surrogate in a name": _named("model.\ud800"),
    "empty name": _named(""),
    "NUL in a name": _named("model\0weight"),
    "entry is null": _entry(lambda _entry: None),
    "entry is a list": _entry(lambda entry: list(entry.values())),
    "entry is a number": _entry(lambda _entry: 1),
    "entry is empty": _entry(lambda _entry: {}),
    "entry within an entry": _entry(lambda entry: {"tensor": entry}),
    "unknown field": _entry(lambda entry: entry | {"strides": [1]}),
    "misspelt field": _entry(lambda entry: {"type": entry["dtype"], **entry}),
    "no dtype": _entry(lambda entry: {k: v for k, v in entry.items() if k != "dtype"}),
    "no shape": _entry(lambda entry: {k: v for k, v in entry.items() if k != "shape"}),
    "no offsets": _entry(lambda entry: {k: v for k, v in entry.items() if k != "data_offsets"}),
    "dtype unknown": _field("dtype", lambda _dtype: "F128"),
    "dtype in lower case": _field("dtype", str.lower),
    "dtype of torch": _field("dtype", lambda _dtype: "torch.float32"),
    "dtype is null": _field("dtype", lambda _dtype: None),
    "dtype is a list": _field("dtype", lambda dtype: [dtype]),
    "dtype is narrower": _field("dtype", lambda _dtype: "F16"),
    "dtype is wider": _field("dtype", lambda _dtype: "F64"),
    "dtype of four bits": _field("dtype", lambda _dtype: "F4"),
    "shape is null": _field("shape", lambda _shape: None),
    "shape is a number": _field("shape", lambda shape: shape[0]),
    "shape is a text": _field("shape", str),
    "shape is a mapping": _field("shape", lambda shape: {"0": shape[0]}),
    "shape is empty": _field("shape", lambda _shape: []),
    "shape is longer": _field("shape", lambda shape: [*shape, 2]),
    "shape with zero": _field("shape", lambda shape: [0, *shape[1:]]),
    "shape is negative": _field("shape", lambda shape: [-shape[0], *shape[1:]]),
    "shape is negative twice": _field("shape", lambda shape: [-1, -1, *shape]),
    "shape with a float": _field("shape", lambda shape: [float(shape[0]), *shape[1:]]),
    "shape with a boolean": _field("shape", lambda shape: [True, *shape]),
    "shape with a text": _field("shape", lambda shape: [str(shape[0]), *shape[1:]]),
    "shape nested": _field("shape", lambda shape: [shape]),
    "shape is huge": _field("shape", lambda shape: [HUGE, *shape]),
    "shape overflows 64 bits": _field("shape", lambda shape: [2**32, 2**32, *shape]),
    "shape with zero and huge": _field("shape", lambda _shape: [0, 2**63]),
    "shape is endless": _field("shape", lambda _shape: [2**62] * 200_000),
    "shape with not-a-number": _field("shape", lambda _shape: [float("nan")]),
    "offsets are null": _field("data_offsets", lambda _offsets: None),
    "offsets are one": _field("data_offsets", lambda offsets: offsets[:1]),
    "offsets are three": _field("data_offsets", lambda offsets: [*offsets, offsets[1]]),
    "offsets are swapped": _field("data_offsets", lambda offsets: offsets[::-1]),
    "offsets are negative": _field("data_offsets", lambda offsets: [-4, *offsets[1:]]),
    "offsets are floats": _field("data_offsets", lambda offsets: [float(offset) for offset in offsets]),
    "offsets are texts": _field("data_offsets", lambda offsets: [str(offset) for offset in offsets]),
    "offsets are huge": _field("data_offsets", lambda offsets: [HUGE, HUGE + offsets[1] - offsets[0]]),
    "offsets beyond the file": _neighbour(1 << 30),
    "offsets overlap by four": _neighbour(-4),
    "offsets overlap by one": _neighbour(-1),
    "offsets leave a hole": _neighbour(4),
    "offsets are equal": _field("data_offsets", lambda offsets: [offsets[0], offsets[0]]),
    "end is one less": _field("data_offsets", lambda offsets: [offsets[0], offsets[1] - 1]),
    "same bytes for two": _same_bytes,
    "metadata is null": _metadata(None),
    "metadata is a list": _metadata(["format", "pt"]),
    "metadata is a text": _metadata("pt"),
    "metadata with a number": _metadata({"format": 1}),
    "metadata nested": _metadata({"format": {"a": "pt"}}),
    "file is empty": _raw(lambda _weights: b""),
    "data cut to nothing": _cut(0),
    "data cut in half": _cut(0.5),
    "data one byte short": _data(lambda weights: weights.data[:-1]),
    "data one byte more": _data(lambda weights: weights.data + b"\0"),
    "data with a page more": _data(lambda weights: weights.data + bytes(4096)),
    "data twice": _data(lambda weights: weights.data * 2),
}  # fmt: skip
"""What the format forbids, by what is wrong."""


def _spoil(change: Change) -> Spoil:
    def spoil(case: Case) -> str:
        weights = case.weights()
        change(weights)
        weights.write()
        return weights.path.name

    return spoil


def _truncated(kept: Callable[[int], int]) -> Spoil:
    """The file itself is cut, header and all."""

    def spoil(case: Case) -> str:
        path = case.weights().path
        whole = path.read_bytes()
        path.write_bytes(whole[: kept(len(whole))])
        return path.name

    return spoil


TRUNCATIONS: dict[str, Callable[[int], int]] = {
    "0 bytes": lambda _size: 0,
    "7 bytes": lambda _size: 7,
    "8 bytes": lambda _size: 8,
    "9 bytes": lambda _size: 9,
    "100 bytes": lambda _size: 100,
    "a third": lambda size: size // 3,
    "all but 4 bytes": lambda size: size - 4,
}


def mutations() -> list[Mutation]:
    """Every change of the format to a single file and one of several; the fused family gets every third."""
    changes = [*FORMAT.items()]
    spoils = [("single", changes), ("sharded", changes[::2]), ("fused", changes[1::6])]
    found = [Mutation("header", what, base, _spoil(change)) for base, some in spoils for what, change in some]
    cuts = [(base, what, kept) for base in ("single", "sharded") for what, kept in TRUNCATIONS.items()]
    return found + [Mutation("cut", what, base, _truncated(kept)) for base, what, kept in cuts]

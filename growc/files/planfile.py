"""A byte plan as a file of JSON lines: a head, one line for each tensor, and a last line that proves it whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import xxhash

from growc.diagnostics import fail
from growc.files.atomic import sync_folder
from growc.files.headers import HEADER_LIMIT
from growc.files.plan import Copied, Made, OutputFile, Part, Plan, PlannedTensor, Source, Zeros, header_text

PLAN = "plan.jsonl"
"""Name of the plan in the folder where a checkpoint is put together."""

VERSION = 1

DIGEST = 16
"""Bytes of an xxh3-128."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


def write_plan(folder: Path, plan: Plan) -> None:
    """Write the plan whole or not at all; every Made part must have its digest by now."""
    aside = folder / (PLAN + ".partial")
    digest, count = xxhash.xxh3_128(), 0
    with aside.open("wb") as file:
        for line in _lines(plan):
            digest.update(line)
            file.write(line)
            count += 1
        file.write(_line({"lines": count, "xxh3_128": digest.hexdigest()}))
        file.flush()
        os.fsync(file.fileno())
    aside.rename(folder / PLAN)
    sync_folder(folder)


def read_plan(folder: Path) -> Plan:
    """The plan of a folder.

    Raises:
        GrowcError: GROW652, if the plan is missing, cut short, altered, or of another version.
    """
    path = folder / PLAN
    try:
        with path.open("rb") as file:
            return _parsed(_proven(file))
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}")
    except (ValueError, TypeError, LookupError, AssertionError, RecursionError) as error:
        _refuse(path, f"is damaged: {error or type(error).__name__}")


def plan_key(folder: Path) -> str | None:
    """The key of the plan of a folder; None if there is none, or one that cannot be read."""
    try:
        with (folder / PLAN).open("rb") as file:
            head = json.loads(file.readline())
        return str(head["key"]) if head["plan"] == VERSION else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _lines(plan: Plan) -> Iterator[bytes]:
    yield _line(
        {
            "plan": VERSION,
            "key": plan.key,
            "parameters": plan.parameters,
            "sources": [[s.path, s.size, s.mtime_ns, s.header] for s in plan.sources],
            "files": [[output.name, output.header, len(output.tensors)] for output in plan.outputs],
        }
    )
    for output in plan.outputs:
        for tensor in output.tensors:
            yield _line([tensor.name, tensor.dtype, tensor.shape, [_part_fields(part) for part in tensor.parts]])


def _line(value: Any) -> bytes:
    return _encode(value).encode() + b"\n"


def _part_fields(part: Part) -> list[object]:
    match part:
        case Copied(file, start, length):
            return ["copied", length, file, start]
        case Zeros(length):
            return ["zeros", length]
        case Made(length, digest):
            assert digest, "a computed part without its digest"
            return ["made", length, digest]


def _proven(file: Iterator[bytes]) -> Iterator[Any]:
    """The values of all lines but the last, which is compared with what came before it."""
    digest, count, held = xxhash.xxh3_128(), 0, b""
    for line in file:
        if held:
            digest.update(held)
            count += 1
            yield json.loads(held)
        held = line
    if held != _line({"lines": count, "xxh3_128": digest.hexdigest()}):
        raise ValueError("its last line does not fit the others")


def _parsed(values: Iterator[Any]) -> Plan:
    head = next(values, None)
    if head is None or head["plan"] != VERSION:
        raise ValueError("another version of growc wrote it")
    key, parameters = _of(str, head["key"]), _natural(head["parameters"])
    sources = tuple(_source(*fields) for fields in head["sources"])
    outputs: list[OutputFile] = []
    known: dict[Any, Any] = {}  # equal dtypes and shapes are kept once
    for name, header, count in head["files"]:
        if not _of(str, name).isprintable() or "/" in name or not name.endswith(".safetensors"):
            raise ValueError(f"a file named {name!r}")
        tensors = tuple(_tensor(value, sources, known) for value in islice(values, _natural(count)))
        if len(tensors) < count:
            raise ValueError(f"{name} has fewer tensors than it should")
        if _natural(header) % 8 or not len(header_text(tensors)) <= header <= HEADER_LIMIT:
            raise ValueError(f"a header of {header} bytes for {name}")
        outputs.append(OutputFile(name, header, tensors))
    for _ in values:
        raise ValueError("more tensors than its files hold")
    return Plan(key, parameters, sources, tuple(outputs))


_Kind = TypeVar("_Kind")


def _of(kind: type[_Kind], value: Any) -> _Kind:
    if type(value) is not kind:
        raise TypeError(f"{value!r} for {kind.__name__}")
    return value


def _natural(value: Any) -> int:
    if _of(int, value) < 0:
        raise ValueError(f"{value} for a size")
    return value


def _source(path: Any, size: Any, mtime_ns: Any, header: Any) -> Source:
    return Source(_of(str, path), _natural(size), _of(int, mtime_ns), _of(str, header))


def _tensor(value: Any, sources: tuple[Source, ...], known: dict[Any, Any]) -> PlannedTensor:
    name, dtype, shape, parts = value
    _of(str, name).encode()  # half a surrogate pair could not even be told
    dtype, shape = known.setdefault(dtype, dtype), known.setdefault(tuple(shape), tuple(map(_natural, shape)))
    return PlannedTensor(name, dtype, shape, tuple(_part(fields, sources) for fields in parts))


def _part(fields: list[Any], sources: tuple[Source, ...]) -> Part:
    match fields:
        case ["copied", length, file, start]:
            if _natural(file) >= len(sources) or _natural(start) + _natural(length) > sources[file].size:
                raise ValueError(f"{length} bytes from byte {start} of source {file}")
            return Copied(file, start, length)
        case ["zeros", length]:
            return Zeros(_natural(length))
        case ["made", length, digest] if len(bytes.fromhex(digest)) == DIGEST:
            return Made(_natural(length), digest)
        case _:
            raise ValueError(f"a part {fields!r}")


def _refuse(path: Path, fault: str) -> NoReturn:
    fail("GROW652", f"{path} {fault}", help=f"remove {path.parent} and run the same command again; it starts anew")

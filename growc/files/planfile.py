"""A byte plan as a file of JSON lines: a head, one line for each tensor, and a last line that proves it whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from growc.diagnostics import fail
from growc.files.distributed import INDEX, SHARD
from growc.files.headers import HEADER_LIMIT
from growc.files.lines import natural, of, read_lines, write_lines
from growc.files.plan import Copied, Made, OutputFile, Part, Plan, PlannedTensor, Source, Zeros, header_text

PLAN = "plan.jsonl"
"""Name of the plan in the folder where a checkpoint is put together."""

VERSION = 1

DIGEST = 16
"""Bytes of an xxh3-128."""


def write_plan(folder: Path, plan: Plan) -> None:
    """Write the plan whole or not at all; every Made part must have its digest by now."""
    write_lines(folder / PLAN, _values(plan))


def read_plan(folder: Path) -> Plan:
    """The plan of a folder.

    Raises:
        GrowcError: GROW652, if the plan is missing, cut short, altered, or of another version.
    """
    path = folder / PLAN
    try:
        with path.open("rb") as file:
            return _parsed(read_lines(file))
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


def _values(plan: Plan) -> Iterator[Any]:
    yield {
        "plan": VERSION,
        "key": plan.key,
        "parameters": plan.parameters,
        "sources": [[s.path, s.size, s.mtime_ns, s.header] for s in plan.sources],
        "files": [[output.name, output.header, len(output.tensors)] for output in plan.outputs],
    }
    for output in plan.outputs:
        for tensor in output.tensors:
            yield [tensor.name, tensor.dtype, tensor.shape, [_part_fields(part) for part in tensor.parts]]


def _part_fields(part: Part) -> list[object]:
    match part:
        case Copied(file, start, length):
            return ["copied", length, file, start]
        case Zeros(length):
            return ["zeros", length]
        case Made(length, digest):
            assert digest, "a computed part without its digest"
            return ["made", length, digest]


def _parsed(values: Iterator[Any]) -> Plan:
    head = next(values, None)
    if head is None or head["plan"] != VERSION:
        raise ValueError("another version of growc wrote it")
    key, parameters = of(str, head["key"]), natural(head["parameters"])
    sources = tuple(_source(*fields) for fields in head["sources"])
    outputs: list[OutputFile] = []
    known: dict[Any, Any] = {}  # equal dtypes and shapes are kept once
    for name, header, count in head["files"]:
        endings = ".safetensors" if header is not None else (SHARD, INDEX)
        if not of(str, name).isprintable() or "/" in name or not name.endswith(endings):
            raise ValueError(f"a file named {name!r}")
        tensors = tuple(_tensor(value, sources, known) for value in islice(values, natural(count)))
        if len(tensors) < count:
            raise ValueError(f"{name} has fewer tensors than it should")
        if header is not None and not _fits(header, tensors):
            raise ValueError(f"a header of {header} bytes for {name}")
        outputs.append(OutputFile(name, header, tensors))
    for _ in values:
        raise ValueError("more tensors than its files hold")
    return Plan(key, parameters, sources, tuple(outputs))


def _fits(header: Any, tensors: tuple[PlannedTensor, ...]) -> bool:
    """Whether a header of so many bytes can describe the tensors."""
    return natural(header) % 8 == 0 and len(header_text(tensors)) <= header <= HEADER_LIMIT


def _source(path: Any, size: Any, mtime_ns: Any, header: Any) -> Source:
    return Source(of(str, path), natural(size), of(int, mtime_ns), of(str, header))


def _tensor(value: Any, sources: tuple[Source, ...], known: dict[Any, Any]) -> PlannedTensor:
    name, dtype, shape, parts = value
    of(str, name).encode()  # half a surrogate pair could not even be told
    dtype, shape = known.setdefault(dtype, dtype), known.setdefault(tuple(shape), tuple(map(natural, shape)))
    return PlannedTensor(name, dtype, shape, tuple(_part(fields, sources) for fields in parts))


def _part(fields: list[Any], sources: tuple[Source, ...]) -> Part:
    match fields:
        case ["copied", length, file, start]:
            if natural(file) >= len(sources) or natural(start) + natural(length) > sources[file].size:
                raise ValueError(f"{length} bytes from byte {start} of source {file}")
            return Copied(file, start, length)
        case ["zeros", length]:
            return Zeros(natural(length))
        case ["made", length, digest] if len(bytes.fromhex(digest)) == DIGEST:
            return Made(natural(length), digest)
        case _:
            raise ValueError(f"a part {fields!r}")


def _refuse(path: Path, fault: str) -> NoReturn:
    fail("GROW652", f"{path} {fault}", help=f"remove {path.parent} and run the same command again; it starts anew")

"""Checkpoint folders of random bytes with copies among them, and what packing must give back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from random import Random

from hypothesis import strategies as st

from growc.files.headers import BITS

Tensors = Mapping[str, tuple[str, tuple[int, ...], bytes]]
"""By name: dtype, shape and bytes."""


def write_weights(path: Path, tensors: Tensors, spaces: str = "") -> None:
    """A safetensors file whose header is padded by `spaces`, within and behind."""
    fields: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        fields[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = (json.dumps(fields, separators=("," + spaces, ":")) + spaces).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for *_, data in tensors.values()))


def write_index(folder: Path, shards: Mapping[str, Tensors]) -> None:
    located = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": located}))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Case:
    """A folder to be packed, and the siblings that are told."""

    root: Path
    groups: Mapping[int, tuple[int, ...]]

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def packed(self) -> Path:
        return self.root / "packed"

    @property
    def back(self) -> Path:
        return self.root / "back"


def experts(root: Path, *, sizes: tuple[int, ...] = (3, 1, 2), trained: float = 0.0, rows: int = 40) -> Case:
    """One layer of experts in three files, copied to groups of `sizes`, of whose bytes a share has changed since."""
    random = Random(1)
    shards: dict[str, dict[str, tuple[str, tuple[int, ...], bytes]]] = {}
    slot = 0
    for size in sizes:
        original = random.randbytes(2 * 32 * rows)
        for _ in range(size):
            data = bytearray(original)
            for _ in range(int(trained * rows * 32)):
                data[2 * random.randrange(rows * 32)] ^= random.randrange(4)
            shard = shards.setdefault(f"model-{slot % 3 + 1:05}-of-00003.safetensors", {})
            shard[f"model.layers.0.mlp.experts.{slot}.up.weight"] = ("BF16", (rows, 32), bytes(data))
            slot += 1
    case = Case(root, {0: sizes})
    case.source.mkdir(parents=True)
    for name, tensors in shards.items():
        write_weights(case.source / name, tensors)
    write_index(case.source, shards)
    (case.source / "config.json").write_text("{}")
    return case


@st.composite
def cases(draw: st.DrawFn, root: Path) -> Case:
    """Tensors of every dtype, equal to others, like others, or their own, one by one and in stacks, in some files."""
    random = Random(draw(st.integers(0, 2**32)))
    held: list[bytes] = []
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for number in range(draw(st.integers(0, 9))):
        dtype = draw(st.sampled_from(sorted(BITS)))
        shape = tuple(draw(st.lists(st.sampled_from([0, 1, 3, 4, 8, 40]), max_size=4)))
        shape = (*shape[:-1], 4 * shape[-1]) if shape else (8,)
        length = BITS[dtype] * prod(shape) // 8
        alike = [data for data in held if len(data) == length]
        data = draw(st.sampled_from(alike)) if alike and draw(st.booleans()) else random.randbytes(length)
        data = _changed(data, draw(st.sampled_from([0, 0, 1, 30])), random)
        if len(shape) > 1 and shape[0] and draw(st.booleans()):  # a stack of copies
            data = data[: length // shape[0]] * shape[0]
        held.append(data)
        name = draw(st.sampled_from(["layers.{}.experts.{}.w", "layers.0.{}{}", "header{}.{}", "ä.{}.\U0001f600{}"]))
        tensors[name.format(number % 2, number)] = (dtype, shape, data)
    sizes = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    case = Case(root, {0: sizes} if draw(st.booleans()) else {})
    case.source.mkdir()
    spaces = " " * draw(st.integers(0, 9))
    if (count := draw(st.integers(1, 3))) == 1 or not tensors:
        write_weights(case.source / "model.safetensors", tensors, spaces)
    else:
        shards = {f"s{n}.safetensors": dict(list(tensors.items())[n::count]) for n in range(min(count, len(tensors)))}
        for name, shard in shards.items():
            write_weights(case.source / name, shard, spaces)
        write_index(case.source, shards)
    for name in sorted(draw(st.sets(st.sampled_from(BESIDE)))):
        path = case.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes(random.choice([0, 10, 600_000])))
    return case


BESIDE = (
    "config.json", "pytorch_model.bin", "pytorch_model.bin.packed", "old.safetensors", "ä \n.txt", ".hidden",
    "training/shards/0.distcp", "training/x.pt", "header", "plan.jsonl",
)  # fmt: skip


def _changed(data: bytes, count: int, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(count if data else 0):
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)

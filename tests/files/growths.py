"""Tiny source files, plans over them, and what a plan must come to, by the simplest means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hypothesis import strategies as st

from growc.files.computed_parts import MadeWriter
from growc.files.headers import BITS, read_header
from growc.files.layout import lay_out
from growc.files.move import finish
from growc.files.plan import Copied, Made, OutputFile, Part, Plan, PlannedTensor, Source, Zeros
from growc.files.planfile import write_plan
from growc.files.progress import Listener
from growc.files.staging import open_staging


def write_source(path: Path, tensors: Mapping[str, tuple[str, Sequence[int], bytes]]) -> Source:
    """A safetensors file, and how a plan names it."""
    fields: dict[str, object] = {}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        fields[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(fields).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for *_, data in tensors.values()))
    return as_source(path)


def as_source(path: Path) -> Source:
    status = path.stat()
    return Source(str(path), status.st_size, status.st_mtime_ns, read_header(path).digest)


@dataclass(frozen=True)
class Growth:
    """A plan, its sources' and its Made parts' bytes, in a folder of its own."""

    root: Path
    tensors: tuple[PlannedTensor, ...]
    sources: tuple[Source, ...]
    made: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict[str, tuple[bytes, ...]])
    limit: int = 10**9
    key: str = "key"

    @property
    def to(self) -> Path:
        return self.root / "grown"

    @property
    def aside(self) -> Path:
        return self.root / "grown.partial"

    def outputs(self) -> tuple[OutputFile, ...]:
        return lay_out(self.tensors, self.limit)

    def prepare(self, aside: Path) -> None:
        """What the half with torch does."""
        writer = MadeWriter(aside, self.outputs())
        for tensor in self.tensors:
            made, at = iter(self.made.get(tensor.name, ())), 0
            for part in tensor.parts:
                if isinstance(part, Made):
                    writer.write(tensor.name, memoryview(next(made)), at)
                at += part.length
        (aside / "config.json").write_text("{}")
        write_plan(aside, Plan(self.key, 7, self.sources, writer.finished()))

    def grow(self, *, workers: int = 1, verify: bool = False, listener: Listener | None = None) -> None:
        with open_staging(self.to, self.key) as (aside, resumed):
            if not resumed:
                self.prepare(aside)
            finish(aside, self.to, workers=workers, verify=verify, listener=listener)

    def expected(self) -> dict[str, bytes]:
        """Every tensor's bytes."""
        whole = [Path(source.path).read_bytes() for source in self.sources]
        found: dict[str, bytes] = {}
        for tensor in self.tensors:
            made = iter(self.made.get(tensor.name, ()))
            found[tensor.name] = b"".join(_bytes(part, whole, made) for part in tensor.parts)
        return found


def _bytes(part: Part, whole: Sequence[bytes], made: Iterable[bytes]) -> bytes:
    match part:
        case Copied(file, start, length):
            return whole[file][start : start + length]
        case Zeros(length):
            return bytes(length)
        case Made():
            return next(iter(made))


def written(folder: Path) -> dict[str, bytes]:
    """Every tensor's bytes in a folder, found through the headers."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.safetensors")):
        whole = path.read_bytes()
        for name, entry in read_header(path).tensors.items():
            assert name not in found
            found[name] = whole[entry.start : entry.end]
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def experts(root: Path, *, size: int = 3000, count: int = 24, shards: int = 2, seed: int = 0) -> Growth:
    """Experts in `shards` files, each twice in the growth, with a grown router and computed rows."""
    random = Random(seed)
    (root / "source").mkdir()
    sources: list[Source] = []
    tensors: list[PlannedTensor] = []
    for shard in range(shards):
        names = [f"layers.{shard}.experts.{n:03}.w" for n in range(count)] + [f"layers.{shard}.gate"]
        path = root / "source" / f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        sources.append(write_source(path, {name: ("U8", [size], random.randbytes(size)) for name in names}))
        for number, entry in enumerate(read_header(path).tensors.values()):
            part = Copied(shard, entry.start, size)
            if entry.name.endswith("gate"):
                parts = (part, Zeros(100), part, Made(50))
                tensors.append(PlannedTensor(entry.name, "U8", (2 * size + 150,), parts))
            else:
                copy = entry.name.replace(f"{number:03}", f"{number + count:03}")
                tensors += [PlannedTensor(name, "U8", (size,), (part,)) for name in (entry.name, copy)]
    made = {tensor.name: (random.randbytes(50),) for tensor in tensors if tensor.name.endswith("gate")}
    return Growth(root, tuple(tensors), tuple(sources), made)


_LENGTHS = st.one_of(st.integers(0, 40), st.integers(0, 20_000))


@st.composite
def growths(draw: st.DrawFn, root: Path) -> Growth:
    """Random parts over random files; bytes are random by a seed, some stretches of them zero."""
    random = Random(draw(st.integers(0, 2**32)))
    sources: list[Source] = []
    for number in range(draw(st.integers(0, 3))):
        lengths = draw(st.lists(_LENGTHS, min_size=1, max_size=4))
        held = {
            f"t{i}": ("U8", [n], bytes(n) if draw(st.booleans()) else random.randbytes(n))
            for i, n in enumerate(lengths)
        }
        sources.append(write_source(root / f"model-{number}.safetensors", held))
    tensors: list[PlannedTensor] = []
    made: dict[str, tuple[bytes, ...]] = {}
    for number in range(draw(st.integers(0, 8))):
        parts = tuple(draw(_parts(sources)) for _ in range(draw(st.integers(0, 3))))
        length = sum(part.length for part in parts)
        dtype = draw(st.sampled_from([d for d in ("U8", "BF16", "F32", "F4") if length * 8 % BITS[d] == 0]))
        name = draw(st.sampled_from(["a", "ä", '"', "model.layers"])) + str(number)
        tensors.append(PlannedTensor(name, dtype, (length * 8 // BITS[dtype],), parts))
        if computed := tuple(random.randbytes(part.length) for part in parts if isinstance(part, Made)):
            made[name] = computed
    return Growth(root, tuple(tensors), tuple(sources), made, draw(st.sampled_from([1, 5000, 10**9])))


@st.composite
def _parts(draw: st.DrawFn, sources: Sequence[Source]) -> Part:
    kind = draw(st.sampled_from(["copied", "copied", "zeros", "made"] if sources else ["zeros", "made"]))
    if kind != "copied":
        return (Zeros if kind == "zeros" else Made)(draw(_LENGTHS))
    file = draw(st.integers(0, len(sources) - 1))
    start = draw(st.integers(0, sources[file].size))
    return Copied(file, start, min(draw(_LENGTHS), sources[file].size - start))

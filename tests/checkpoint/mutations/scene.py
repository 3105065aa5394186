"""A good checkpoint folder with its spec, to be spoilt, and what must be the same after a refusal."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from growc.checkpoint.command import grow
from growc.checkpoint.prepare import prepare
from growc.checkpoint.request import Request
from growc.checkpoint.training import write_state
from growc.diagnostics import Diagnostic
from growc.files.beside import TRAINING
from growc.model.build import canonical
from tests.checkpoint.folders import Place, place

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
LIMIT = 60
"""Seconds of work after which a growth of a tiny folder is taken to go on for ever."""

BASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "single": ("qwen3_moe", {"router": {"init": "split"}}, "1GB"),
    "sharded": ("qwen3_moe", {}, "20KB"),
    "trained": ("qwen3_moe", {"layers": [1]}, "1GB"),
    "fused": ("gpt_oss", {"router": {"init": "copy", "bias_noise": 0.01}}, "20KB"),
}
"""Good inputs by name: a family, what beside the exact settings its spec says, and the size of its files."""


@functools.cache
def _made(base: str) -> tempfile.TemporaryDirectory[str]:
    family, operator, size = BASES[base]
    folder = tempfile.TemporaryDirectory(prefix=f"growc-{base}-")
    there = place(Path(folder.name), family, operator, max_shard_size=size)
    (there.source / "tokenizer.json").write_text("{}")
    (there.source / "growth.json").write_text('{"stage": "before"}')
    if base == "trained":
        add_training(there.source)
    return folder


def add_training(source: Path) -> None:
    """What a checkpoint of `growc run` has beside its weights."""
    model = AutoModelForCausalLM.from_pretrained(source)
    tensors = {name: tensor.detach().float() for name, tensor in model.state_dict().items()}
    kinds = {name: {"exp_avg": t * 2, "exp_avg_sq": t * t, "step": torch.tensor(3.0)} for name, t in tensors.items()}
    (source / TRAINING).mkdir()
    write_state(source / TRAINING, tensors, canonical(model.config), kinds, "key", "node", 3, 192, alone=True)


@dataclass
class Case:
    """A copy of a good input that a mutation spoils; `rng` chooses where."""

    there: Place
    rng: random.Random
    stage: str = "upcycle"
    overrides: tuple[str, ...] = ()
    names: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, root: Path, base: str, seed: object) -> Case:
        shutil.copytree(_made(base).name, root, symlinks=True, dirs_exist_ok=True)
        return cls(Place(root), random.Random(str(seed)))

    @property
    def source(self) -> Path:
        return self.there.source

    def grow(self) -> tuple[Diagnostic, ...]:
        there = self.there
        request = Request(there.spec, self.stage, there.source, there.grown, self.overrides, shard_bytes=30_000)
        with in_time():
            return grow(request, prepare)

    def json(self, name: str) -> Any:
        return json.loads((self.source / name).read_bytes())

    def write_json(self, name: str, value: Any) -> None:
        (self.source / name).write_text(json.dumps(value))

    def weights(self) -> Weights:
        """One of the weight files, by chance."""
        return Weights.read(self.rng.choice(sorted(self.source.glob("*.safetensors"))), self.rng)

    def holding(self, tensor: str) -> Weights:
        """The weight file that holds a tensor."""
        files = (Weights.read(path, self.rng) for path in sorted(self.source.glob("*.safetensors")))
        return next(weights for weights in files if tensor in weights.fields)

    def tensors(self) -> list[str]:
        """Names of all tensors, sorted."""
        paths = sorted(self.source.glob("*.safetensors"))
        return sorted(name for path in paths for name in Weights.read(path, self.rng).names)


@dataclass
class Weights:
    """A weight file taken apart; `header` takes the place of `fields` where it is no JSON of a mapping."""

    path: Path
    rng: random.Random
    fields: dict[str, Any]
    data: bytes
    header: bytes | None = None
    length: int | None = None

    @classmethod
    def read(cls, path: Path, rng: random.Random) -> Weights:
        whole = path.read_bytes()
        length = int.from_bytes(whole[:8], "little")
        return cls(path, rng, json.loads(whole[8 : 8 + length]), whole[8 + length :])

    @property
    def names(self) -> list[str]:
        return [name for name in self.fields if name != "__metadata__"]

    @property
    def text(self) -> bytes:
        return json.dumps(self.fields).encode() if self.header is None else self.header

    def some(self) -> tuple[str, dict[str, Any]]:
        """A tensor with bytes, by chance: its name and its description."""
        name = self.rng.choice(self.names)
        return name, self.fields[name]

    def bytes_of(self, name: str) -> bytes:
        start, end = self.fields[name]["data_offsets"]
        return self.data[start:end]

    def lay_out(self, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
        """Hold exactly these tensors (dtype, shape, bytes), one after the other."""
        self.fields = {k: v for k, v in self.fields.items() if k == "__metadata__"}
        self.data = b""
        for name, (dtype, shape, data) in tensors.items():
            offsets = [len(self.data), len(self.data) + len(data)]
            self.fields[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
            self.data += data

    def held(self) -> dict[str, tuple[str, list[int], bytes]]:
        """What `lay_out` takes."""
        return {n: (self.fields[n]["dtype"], self.fields[n]["shape"], self.bytes_of(n)) for n in self.names}

    def write(self) -> None:
        length = len(self.text) if self.length is None else self.length
        self.path.write_bytes(length.to_bytes(8, "little") + self.text + self.data)


Spoil = Callable[[Case], str | tuple[str, ...]]
"""Spoils a case, and gives words of which every diagnostic has one: the file, tensor or key at fault."""


@dataclass(frozen=True)
class Mutation:
    """One way to spoil a base; equal ids spoil it in the same place."""

    kind: str
    what: str
    base: str
    spoil: Spoil

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.base}-{self.what}".replace(" ", "_")


class Waited(BaseException):
    """Ancestry all handlers: nothing may take it for a fault of the input."""


@contextmanager
def in_time() -> Generator[None]:
    """Waited instead of waiting for ever, as for the other end of a pipe; a machine may be busy with other things."""
    began, worked = time.monotonic(), time.process_time()

    def look(*_: object) -> None:
        if time.process_time() - worked > LIMIT or time.monotonic() - began > 10 * LIMIT:
            raise Waited(f"no answer after {LIMIT} seconds of work, or {10 * LIMIT} in all")

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 5, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes | str]]:
    """Mode, time and content of everything under a folder; links are not followed."""
    found: dict[str, tuple[int, int, bytes | str]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            content: bytes | str = str(path.readlink())
        else:
            content = path.read_bytes() if path.is_file() and status.st_size < 1 << 24 else b""
        found[str(path.relative_to(root))] = status.st_mode, status.st_mtime_ns, content
    return found


def replace_by_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def replace_by_link(path: Path, target: str | Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)

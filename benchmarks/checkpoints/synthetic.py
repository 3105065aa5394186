"""A checkpoint of the size and layout of a real one, without a model: Qwen3-MoE's tensors, filled with noise."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from growc.files.headers import read_header
from growc.files.layout import lay_out
from growc.files.plan import Copied, OutputFile, Plan, PlannedTensor, Source, Zeros, header_text
from growc.files.planfile import write_plan
from growc.files.staging import open_staging

NOISE, SHIFTS = 1 << 24, 1 << 16
"""Bytes of noise that are written over and over, and how often it is shifted by one."""

LIMIT = 5 * 10**9
"""The most tensor bytes of one file of the grown checkpoint."""


@dataclass(frozen=True)
class Shape:
    """A mixture of experts in bf16; the defaults make 1.8 GB in 5 files."""

    layers: int = 8
    experts: int = 64
    hidden: int = 1024
    expert: int = 512
    vocabulary: int = 32768
    files: int = 5


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes, as transformers has them."""
    yield "model.embed_tokens.weight", (shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        yield f"{prefix}input_layernorm.weight", (shape.hidden,)
        for expert in range(shape.experts):
            yield f"{prefix}mlp.experts.{expert}.down_proj.weight", (shape.hidden, shape.expert)
            yield f"{prefix}mlp.experts.{expert}.gate_proj.weight", (shape.expert, shape.hidden)
            yield f"{prefix}mlp.experts.{expert}.up_proj.weight", (shape.expert, shape.hidden)
        yield f"{prefix}mlp.gate.weight", (shape.experts, shape.hidden)
        yield f"{prefix}post_attention_layernorm.weight", (shape.hidden,)
        for name in ("k_proj", "o_proj", "q_proj", "v_proj"):
            yield f"{prefix}self_attn.{name}.weight", (shape.hidden, shape.hidden)
    yield "model.norm.weight", (shape.hidden,)
    yield "lm_head.weight", (shape.vocabulary, shape.hidden)


def write_source(folder: Path, shape: Shape) -> None:
    """Write the checkpoint's weight files, tensors in order of their names as the library does, and sync them."""
    folder.mkdir()
    held = [PlannedTensor(n, "BF16", s, (Zeros(2 * math.prod(s)),)) for n, s in sorted(tensors(shape))]
    noise = os.urandom(NOISE + SHIFTS)
    groups = list(_groups(held, shape.files))
    for number, group in enumerate(groups, start=1):
        header = header_text(group)
        header += b" " * (-len(header) % 8)
        output = OutputFile(f"model-{number:05d}-of-{len(groups):05d}.safetensors", len(header), tuple(group))
        with (folder / output.name).open("wb") as file:
            file.write(output.head())
            left = output.size - output.data
            while left:
                start = left // NOISE % SHIFTS  # so that no two pieces are alike
                left -= file.write(noise[start : start + min(left, NOISE)])
            file.flush()
            os.fsync(file.fileno())


def _groups(held: list[PlannedTensor], count: int) -> Iterator[list[PlannedTensor]]:
    """Files of about equal size."""
    share, group, filled = sum(tensor.nbytes for tensor in held) / count, list[PlannedTensor](), 0
    for tensor in held:
        if group and filled + tensor.nbytes > share:
            yield group
            group, filled = [], 0
        group.append(tensor)
        filled += tensor.nbytes
    yield group


def plan_doubling(folder: Path, experts: int) -> Plan:
    """Every expert twice, and every router's rows."""
    sources: list[Source] = []
    planned: list[PlannedTensor] = []
    for number, path in enumerate(sorted(folder.glob("*.safetensors"))):
        header, status = read_header(path), path.stat()
        sources.append(Source(str(path.absolute()), status.st_size, status.st_mtime_ns, header.digest))
        for entry in header.tensors.values():
            part = Copied(number, entry.start, entry.end - entry.start)
            if entry.name.endswith("mlp.gate.weight"):
                rows, *width = entry.shape
                planned.append(PlannedTensor(entry.name, entry.dtype, (2 * rows, *width), (part, part)))
                continue
            planned.append(PlannedTensor(entry.name, entry.dtype, entry.shape, (part,)))
            if copy := _copy_of(entry.name, experts):
                planned.append(PlannedTensor(copy, entry.dtype, entry.shape, (part,)))
    return Plan("benchmark", 0, tuple(sources), lay_out(planned, LIMIT))


def _copy_of(name: str, experts: int) -> str | None:
    before, found, after = name.partition(".experts.")
    if not found:
        return None
    number, rest = after.split(".", 1)
    return f"{before}.experts.{int(number) + experts}.{rest}"


def stage(to: Path, plan: Plan) -> None:
    """The folder that is then finished."""
    with open_staging(to, plan.key) as (aside, _):
        (aside / "config.json").write_text("{}\n")
        write_plan(aside, plan)


def kimi_k2() -> Plan:
    """The plan of a growth of Kimi-K2's size, 61 layers of 384 experts to 768, a file a layer; there are no files."""
    layers, experts, size = 61, 384, (2048, 7168)
    length = 2 * math.prod(size)
    planned: list[PlannedTensor] = []
    for layer in range(layers):
        for number in range(3 * experts):
            part = (Copied(layer, (1 << 20) + number * length, length),)
            expert, projection = divmod(number, 3)
            kind = ("down_proj", "gate_proj", "up_proj")[projection]
            for copy in (expert, expert + experts):
                name = f"model.layers.{layer}.mlp.experts.{copy}.{kind}.weight"
                planned.append(PlannedTensor(name, "BF16", size, part))
    sources = tuple(Source(f"/model-{n:05d}.safetensors", 10**12, 0, "0" * 64) for n in range(layers))
    return Plan("kimi", 0, sources, lay_out(planned, 10**12))

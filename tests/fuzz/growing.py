"""`growc grow` in this process on changed inputs: refused without a trace, or right by an independent account."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from growc.model.build import canonical, load_config
from tests.checkpoint.folders import in_memory, read
from tests.checkpoint.mutations.scene import BASES, INDEX, Case, snapshot
from tests.fuzz.change import bytes_changed, value_changed, written
from tests.fuzz.outcome import Wrong, answer
from tests.fuzz.readers import header_changed, text_changed


@cache
def _undisturbed(base: str) -> tuple[dict[str, Tensor], bytes]:
    """What an unchanged input grows into: its tensors and its config."""
    with TemporaryDirectory() as folder:
        case = Case.of(Path(folder), base, 0)
        case.grow()
        return read(case.there.grown), (case.there.grown / "config.json").read_bytes()


def whole(folder: Path, rng: Random) -> str:
    """One call on a spec and a source of which something was changed."""
    base = rng.choice([*BASES])
    before_all = _undisturbed(base)
    case = Case.of(folder, base, rng.random())
    for _ in range(rng.choice((1, 1, 1, 2))):
        _spoil(case, rng)
    before = snapshot(folder)
    if code := answer(case.grow):
        if snapshot(folder) != before:
            raise Wrong(f"{code}, and the folder is not as it was")
        return code
    after = {name: held for name, held in snapshot(folder).items() if name.split("/")[0] != "grown"}
    if after != before:
        raise Wrong("grown, and something else was touched")
    found = read(case.there.grown), (case.there.grown / "config.json").read_bytes()
    if found[1] == before_all[1] and _same(found[0], before_all[0]):
        return "undisturbed"
    _check(case, found[0])
    return "another growth, and right"


def _spoil(case: Case, rng: Random) -> None:
    source = case.source
    match rng.randrange(10):
        case 0 | 1 | 2 | 3:
            path = source / "config.json"
            path.write_bytes(text_changed(path.read_bytes(), rng))
        case 4 | 5:
            case.there.spec.write_bytes(_spec_changed(case.there.spec.read_bytes(), rng))
        case 6 if (source / INDEX).exists():
            (source / INDEX).write_bytes(text_changed((source / INDEX).read_bytes(), rng))
        case 7:
            path = source / rng.choice(("growth.json", "generation_config.json"))
            path.write_bytes(bytes_changed(path.read_bytes(), rng))
        case _:
            path = rng.choice(sorted(source.glob("*.safetensors")))
            path.write_bytes(_weights_changed(case, path, rng))


def _spec_changed(text: bytes, rng: Random) -> bytes:
    """The spec; its model, which is most of it, is spared most of the time."""
    try:
        spec: Any = json.loads(text)
    except (ValueError, RecursionError):  # another change was first
        return bytes_changed(text, rng)
    if rng.random() < 0.2:
        return bytes_changed(text, rng)
    if not isinstance(spec, dict) or "model" not in spec:
        return written(value_changed(spec, rng), rng)
    if rng.random() < 0.7:
        changed = value_changed({key: value for key, value in spec.items() if key != "model"}, rng)
        return written({**changed, "model": spec["model"]} if isinstance(changed, dict) else changed, rng)
    return written(value_changed(spec, rng), rng)


def _weights_changed(case: Case, path: Path, rng: Random) -> bytes:
    """Another header; where the index tells of names, it is made to follow half of the time."""
    data = header_changed(path.read_bytes(), rng)
    if (case.source / INDEX).exists() and rng.random() < 0.5:
        try:
            names = [*json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])]
            index = case.json(INDEX)
            kept = {name: file for name, file in index["weight_map"].items() if file != path.name}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return data
        index["weight_map"] = kept | {name: path.name for name in names if name != "__metadata__"}
        case.write_json(INDEX, index)
    return data


def _check(case: Case, found: dict[str, Tensor]) -> None:
    """The same by transformers: it loads the source whole, and the in-memory growth of that is what was written."""
    if (case.source / INDEX).exists():  # without metadata, which growc has no use for, transformers gives up
        case.write_json(INDEX, {"metadata": {}, **case.json(INDEX)})
    loaded: Any = AutoModelForCausalLM.from_pretrained(case.source, output_loading_info=True)
    if any(loaded[1][kind] for kind in ("missing_keys", "mismatched_keys", "error_msgs")):
        raise Wrong(f"transformers does not find the whole model in the source: {loaded[1]}")
    wanted = in_memory(case.there)
    if found.keys() != wanted.keys():
        raise Wrong(f"other tensors than by growth in memory: {sorted(found.keys() ^ wanted.keys())[:3]}")
    for name, tensor in wanted.items():
        if not _equal(found[name].to(tensor.dtype), tensor):
            raise Wrong(f"{name} differs from growth in memory")
    _check_config(case)


def _check_config(case: Case) -> None:
    """The grown config says of all but the experts what the source's does."""
    before, after = (
        canonical(load_config(json.loads((path / "config.json").read_bytes())))
        for path in (case.source, case.there.grown)
    )
    # Sizes of the experts and what tells of siblings must change, and what followed from other keys may be told.
    changed = {key for key in before.keys() | after.keys() if before.get(key) not in (None, after.get(key))}
    known = {"model_type", "growc", "num_experts", "num_local_experts", "num_experts_per_tok"}
    if changed - known:
        raise Wrong(f"the grown config differs in {sorted(changed - known)}")


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and _equal(one[name], other[name]) for name in one
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    """Equal in all bits, whatever they mean."""
    bits = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in (one, other)]
    return one.shape == other.shape and torch.equal(bits[0], bits[1])

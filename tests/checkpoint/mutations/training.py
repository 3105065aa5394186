"""Training states that are damaged, of another model, or bent on running code."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata

from growc.checkpoint.shards import INDEX
from growc.checkpoint.training import META, SHARDS
from growc.files.beside import TRAINING
from tests.checkpoint.mutations.scene import (
    Case,
    Mutation,
    Spoil,
    replace_by_folder,
    replace_by_link,
    replace_by_pipe,
)

NORM = "model.norm.weight"


class Evil:
    """Unpickled, it would leave a file behind, which the snapshot after the refusal would show."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def _state(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """`state.json`, changed in place or by what `change` gives."""

    def spoil(case: Case) -> tuple[str, ...]:
        path = case.source / TRAINING / META
        state = json.loads(path.read_text())
        made = change(state)
        path.write_text(json.dumps(state if made is None else made))
        return (META, INDEX)

    return spoil


def _index(change: Callable[[Metadata], object]) -> Spoil:
    """The index of the shards, changed in place."""

    def spoil(case: Case) -> str:
        path = case.source / TRAINING / SHARDS / INDEX
        found = pickle.loads(path.read_bytes())
        change(found)
        path.write_bytes(pickle.dumps(found))
        return TRAINING

    return spoil


def _resized(index: Metadata) -> None:
    entry: Any = index.state_dict_metadata[f"model.{NORM}"]
    entry.size = torch.Size([31])


def _elsewhere(to: str) -> Callable[[Metadata], None]:
    def move(index: Metadata) -> None:
        for info in index.storage_data.values():
            info.relative_path = to

    return move


def _beyond(index: Metadata) -> None:
    for info in index.storage_data.values():
        info.offset += 1 << 40


def _evil(case: Case) -> str:
    path = case.source / TRAINING / SHARDS / INDEX
    path.write_bytes(pickle.dumps(Evil(case.there.root / "evil")))
    return TRAINING


def _evil_within(case: Case) -> str:
    path = case.source / TRAINING / SHARDS / INDEX
    found: Metadata = pickle.loads(path.read_bytes())
    found.planner_data = Evil(case.there.root / "evil")
    path.write_bytes(pickle.dumps(found))
    return TRAINING


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(case: Case) -> str:
        path = next((case.source / TRAINING).rglob(name))
        path.write_bytes(change(path.read_bytes()))
        return TRAINING

    return spoil


def _replaced(name: str, by: Callable[[Path], object]) -> Spoil:
    def spoil(case: Case) -> str:
        by(next((case.source / TRAINING).rglob(name)))
        return TRAINING

    return spoil


def _without(name: str) -> Spoil:
    def spoil(case: Case) -> str:
        path = case.source / TRAINING / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        return TRAINING

    return spoil


def _whole(by: Callable[[Path], object]) -> Spoil:
    def spoil(case: Case) -> str:
        shutil.rmtree(case.source / TRAINING)
        by(case.source / TRAINING)
        return TRAINING

    return spoil


STATES: dict[str, Spoil] = {
    "state empty": _bytes(META, lambda _: b""),
    "state half": _bytes(META, lambda text: text[: len(text) // 2]),
    "state a list": _state(lambda state: [state]),
    "state of format 2": _state(lambda state: state.update(format=2)),
    "state without moments": _state(lambda state: state.pop("moments") and None),
    "state with a surprise": _state(lambda state: state.update(surprise=1)),
    "state with steps of text": _state(lambda state: state.update(step="3")),
    "moments a list": _state(lambda state: state.update(moments=[NORM])),
    "moments of nothing": _state(lambda state: state["moments"].update({"model.nothing": ["exp_avg"]})),
    "moments of text": _state(lambda state: state["moments"].update({NORM: "exp_avg"})),
    "moments with nonsense": _state(lambda state: state["moments"].update({NORM: ["exp_avg", "nonsense"]})),
    "index cut": _bytes(INDEX, lambda data: data[:-20]),
    "index empty": _bytes(INDEX, lambda _: b""),
    "index no pickle": _bytes(INDEX, lambda _: b"index"),
    "index of a number": _bytes(INDEX, lambda _: pickle.dumps(1)),
    "index that runs code": _evil,
    "index with code inside": _evil_within,
    "index without a tensor": _index(lambda index: index.state_dict_metadata.pop(f"model.{NORM}")),
    "index without a moment": _index(lambda index: index.state_dict_metadata.pop(f"optimizer.{NORM}.exp_avg")),
    "index with another shape": _index(_resized),
    "index leads above": _index(_elsewhere("../shards/__0_0.distcp")),
    "index leads to a device": _index(_elsewhere("/dev/zero")),
    "index leads to nothing": _index(_elsewhere("__9_9.distcp")),
    "index leads beyond the file": _index(_beyond),
    "shard cut": _bytes("*.distcp", lambda data: data[: len(data) // 2]),
    "shard empty": _bytes("*.distcp", lambda _: b""),
    "shard of zeros": _bytes("*.distcp", lambda data: bytes(len(data))),
    "shard a pipe": _replaced("*.distcp", replace_by_pipe),
    "shard a folder": _replaced("*.distcp", replace_by_folder),
    "shard a dangling link": _replaced("*.distcp", lambda path: replace_by_link(path, "nowhere")),
    "state a pipe": _replaced(META, replace_by_pipe),
    "index a pipe": _replaced(INDEX, replace_by_pipe),
    "no state": _without(META),
    "no shards": _without(SHARDS),
    "no index": _without(f"{SHARDS}/{INDEX}"),
    "an empty folder": _whole(Path.mkdir),
    "a file": _whole(Path.touch),
    "a pipe": _whole(replace_by_pipe),
    "a dangling link": _whole(lambda path: replace_by_link(path, "nowhere")),
}


def mutations() -> list[Mutation]:
    """For the one base that has a training state."""
    return [Mutation("training", what, "trained", spoil) for what, spoil in STATES.items()]

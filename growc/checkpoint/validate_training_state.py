"""Whether a training state in a folder is that of the folder's model, before it is grown."""

from __future__ import annotations

import pickle
import stat
import struct
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from torch.distributed.checkpoint.api import CheckpointException

from growc.anatomy.model_graph import ModelGraph
from growc.checkpoint.shards import ShardsReader
from growc.checkpoint.training import FORMAT, META, SHARDS
from growc.diagnostics import fail
from growc.files.distributed import INDEX
from growc.files.strict import parse, read_bytes

STEP = "step"
"""Name of the number of steps among the state of a tensor."""

FAULTS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    AssertionError,
    EOFError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    CheckpointException,
)
"""What torch and pickle raise at shards that are damaged."""


def check_training(state: Path, graph: ModelGraph) -> None:
    """Refuse a training state that is damaged, or that of another model than `graph` (GROW661)."""
    with told(state):
        for path in (state / META, *(state / SHARDS).iterdir()):
            if not stat.S_ISREG(path.stat().st_mode):
                unsound(path, "is no regular file")
        moments = _moments(state, graph)
        index = ShardsReader(state / SHARDS).read_metadata().state_dict_metadata
        wanted: dict[str, tuple[int, ...]] = {f"model.{name}": info.shape for name, info in graph.tensors.items()}
        for name, kinds in moments.items():
            shape = graph.tensors[name].shape
            wanted.update({f"optimizer.{name}.{kind}": () if kind == STEP else shape for kind in kinds})
        for key, shape in wanted.items():
            entry: Any = index.get(key)
            if entry is None:
                unsound(state / SHARDS / INDEX, f"lacks {key}")
            if tuple(entry.size) != shape:
                unsound(state / SHARDS / INDEX, f"has {key} of shape {list(entry.size)}, not {list(shape)}")


@contextmanager
def told(state: Path) -> Generator[None]:
    """Makes what torch raises at a damaged state a diagnostic (GROW661)."""
    try:
        yield
    except FAULTS as error:
        unsound(state, f"cannot be read: {said(error)}")


def said(error: BaseException) -> str:
    """What one of `FAULTS` says, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:300] or type(error).__name__


def unsound(path: Path, fault: str) -> NoReturn:
    """Refuse the training state of which `path` is a part."""
    help = "fetch the checkpoint again; without its folder `training` the weights grow alone"
    fail("GROW661", f"{path} {fault}", help=help)


def _moments(state: Path, graph: ModelGraph) -> dict[str, list[str]]:
    """What `state.json` says every tensor has of optimizer state."""
    path = state / META
    meta: Any = parse(read_bytes(path))
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        unsound(path, f"is not of the format {FORMAT}")
    kinds = {"key": str, "node": str, "step": int, "tokens": int, "moments": dict, "format": int}
    if meta.keys() != kinds.keys() or any(type(meta[key]) is not kind for key, kind in kinds.items()):
        unsound(path, f"does not have just {', '.join(kinds)}")
    for name, held in meta["moments"].items():
        if name not in graph.tensors:
            unsound(path, f"tells of {name}, which is no tensor of the model")
        if not isinstance(held, list) or not all(isinstance(kind, str) for kind in held):
            unsound(path, f"does not list the state of {name}")
    return meta["moments"]

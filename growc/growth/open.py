"""From a spec file to its growth graph: load, resolve the source, trace it, build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from growc.growth.build import build, sequence_length
from growc.growth.code import code_digest
from growc.growth.graph import GrowthGraph
from growc.model.inspect import inspect
from growc.model.source import ModelSource, resolve
from growc.spec import LoadedSpec, load


@dataclass(frozen=True)
class Opened:
    """A spec, read with `overrides` (its `--set` values), with its source model found and its graph built."""

    overrides: tuple[str, ...]
    loaded: LoadedSpec
    source: ModelSource
    graph: GrowthGraph


def open_spec(path: Path, overrides: Sequence[str] = (), *, allow_code: bool = False) -> Opened:
    """Open the spec at `path`.

    Raises:
        GrowcError: every mistake found in the spec, or what is wrong with its source, or with its growth.
    """
    loaded = load(path, overrides, allow_code=allow_code)
    source = resolve(loaded.spec.model, loaded.base_dir, allow_code=allow_code)
    graph = inspect(source.config, sequence_length(loaded.spec))
    return Opened(tuple(overrides), loaded, source, build(loaded, graph, source.digest, code_digest()))

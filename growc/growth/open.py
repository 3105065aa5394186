"""From a spec file to its growth graph: load, resolve the source, trace it, build."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from growc.anatomy.model_graph import ModelGraph
from growc.diagnostics import Diagnostic, GrowcError, Severity, fail
from growc.files.versions import MEANING
from growc.growth.arms import sequence_length
from growc.growth.build import build
from growc.growth.graph import GrowthGraph, Root, digest
from growc.growth.unlike import FolderOf, unlike_tokenizers
from growc.model.inspect import inspect
from growc.model.left_out import left_out
from growc.model.positions import longest_sequence
from growc.model.source import ModelSource, resolve
from growc.spec import LoadedSpec, load
from growc.spec.schema import Model

LEFT_OUT = "`growc grow` on the folder keeps what stays valid"


@dataclass(frozen=True)
class Opened:
    """A spec, read with `overrides` (its `--set` values), with its source models found and its graph built.

    `roots` are what the arms start from: one, unless a sweep changes the model.
    """

    overrides: tuple[str, ...]
    loaded: LoadedSpec
    roots: tuple[Root, ...]
    graph: GrowthGraph

    @property
    def models(self) -> tuple[Root, ...]:
        """The models of all roots, further sources included, each once."""
        found = {each.given.model_dump_json(): each for root in self.roots for each in root.every()}
        return tuple(found.values())

    @property
    def source(self) -> ModelSource:
        """Where the model comes from, at the first point of a sweep."""
        return self.roots[0].source

    def of_sources(self, *, allow_unlike: bool = False) -> tuple[Diagnostic, ...]:
        """What is to be said of the models that it starts from: GROW218, and GROW219 unless that is allowed."""
        return self.left_out() + (() if allow_unlike else self.unlike())

    def unlike(self, folder_of: FolderOf = lambda source: source.weights) -> tuple[Diagnostic, ...]:
        """Parents of one stage with unlike tokenizers (GROW219), as far as their folders are on this machine."""
        return tuple(unlike_tokenizers(self.graph, folder_of))

    def left_out(self) -> tuple[Diagnostic, ...]:
        """Warnings of what a run's checkpoints lack of the models that it starts from (GROW218)."""
        found: dict[Diagnostic, None] = {}
        for root in self.roots:
            sections = {("model",): root, **{("sources", name): other for name, other in root.others.items()}}
            for place, each in sections.items():
                span = self.loaded.span(*place, each.given.source)
                for lack in left_out(each.source, each.model):
                    message = f"a run's checkpoints are not all of {each.source.origin}: {lack}"
                    found[Diagnostic("GROW218", message, LEFT_OUT, span, Severity.WARNING)] = None
        return tuple(found)


def open_spec(
    path: Path, overrides: Sequence[str] = (), *, allow_code: bool = False, text: str | None = None
) -> Opened:
    """Open the spec at `path`, or the `text` that was there.

    Raises:
        GrowcError: every mistake found in the spec, or what is wrong with its source, or with its growth.
    """
    loaded = load(path, overrides, allow_code=allow_code, text=text)
    found: dict[str, Root] = {}
    roots: dict[str, Root] = {}
    described: list[str] = []
    for at in loaded.points:
        spec = at.loaded.spec
        described.append(spec.model_dump_json(include={"model", "sources"}))
        if described[-1] not in roots:
            roots[described[-1]] = _root(at.loaded, found, allow_code=allow_code)
    graph = build(loaded, [roots[name] for name in described], digest(MEANING))
    return Opened(tuple(overrides), loaded, tuple(roots.values()), graph)


def _root(loaded: LoadedSpec, found: dict[str, Root], *, allow_code: bool) -> Root:
    """The source of one point, with its further ones."""
    others = {
        name: _found(loaded, model, ("sources", name), found, allow_code=allow_code)
        for name, model in loaded.spec.sources.items()
    }
    return replace(_found(loaded, loaded.spec.model, ("model",), found, allow_code=allow_code), others=others)


def _found(
    loaded: LoadedSpec, model: Model, place: tuple[str, ...], found: dict[str, Root], *, allow_code: bool
) -> Root:
    name = model.model_dump_json()
    if name not in found:
        try:
            source = resolve(model, loaded.base_dir, allow_code=allow_code)
            found[name] = Root(source, inspect(source.config, sequence_length(loaded.spec)), model)
        except GrowcError as error:
            raise GrowcError(
                replace(d, span=d.span or loaded.span(*place, model.source, *_key(model, d.message)))
                for d in error.diagnostics
            ) from None
    _reads(found[name].model, loaded)
    return found[name]


def _key(model: Model, message: str) -> tuple[str, ...]:
    """The key of an inline config that a message names, if there is one."""
    given = model.config if isinstance(model.config, dict) else {}
    return next(((word,) for word in re.findall(r"\w+", message) if word in given), ())


def _reads(model: ModelGraph, loaded: LoadedSpec) -> None:
    """Refuse sequences that a model has no positions for (GROW216)."""
    data, longest = loaded.spec.data, longest_sequence(model)
    if data and longest is not None and data.sequence_length > longest:
        fail(
            "GROW216",
            f"sequences of {data.sequence_length} tokens do not fit the {longest} positions of this {model.model_type}",
            help=f"set data.sequence_length to {longest} or less",
            span=loaded.span("data", "sequence_length"),
        )

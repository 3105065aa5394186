"""Whatever is wrong with a source or a spec: a diagnostic that names it, nothing written, nothing touched."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from growc.diagnostics import Diagnostic, GrowcError
from tests.checkpoint.folders import read
from tests.checkpoint.mutations import corpus
from tests.checkpoint.mutations.harmless import CONFIG, HARMLESS
from tests.checkpoint.mutations.scene import BASES, Case, Mutation, snapshot

CORPUS = corpus()

pytestmark = pytest.mark.share(24)


def said(diagnostic: Diagnostic) -> str:
    """The message, with the file of its place: a spec is named by where a line of it is shown."""
    return diagnostic.message + (f" ({diagnostic.span.file})" if diagnostic.span else "")


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 300


@pytest.mark.parametrize("mutation", CORPUS, ids=lambda one: one.id)
def test_a_spoilt_input_is_refused(tmp_path: Path, mutation: Mutation) -> None:
    case = Case.of(tmp_path, mutation.base, mutation.id)
    names = mutation.spoil(case)
    names = (names,) if isinstance(names, str) else names
    before = snapshot(case.there.root)
    with pytest.raises(GrowcError) as caught:
        case.grow()
    assert snapshot(case.there.root) == before
    for diagnostic in caught.value.diagnostics:
        assert any(name in said(diagnostic) for name in names), f"{diagnostic} names none of {names}"
        assert diagnostic.help


@functools.cache
def undisturbed(base: str) -> tuple[dict[str, torch.Tensor], dict[str, Any], set[str]]:
    """Tensors, config and names of files of what a good input grows into."""
    with tempfile.TemporaryDirectory() as root:
        case = Case.of(Path(root), base, 0)
        case.grow()
        return outcome(case)


def outcome(case: Case) -> tuple[dict[str, torch.Tensor], dict[str, Any], set[str]]:
    grown = case.there.grown
    return read(grown), json.loads((grown / CONFIG).read_text()), {path.name for path in grown.iterdir()}


def without(config: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


@pytest.mark.nightly(2)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("what", HARMLESS)
def test_a_change_that_means_nothing_changes_nothing(tmp_path: Path, base: str, what: str) -> None:
    case = Case.of(tmp_path, base, what)
    carried = HARMLESS[what](case) or ()
    before = snapshot(case.there.root)
    case.grow()
    tensors, config, names = outcome(case)
    wanted, as_before, same_names = undisturbed(base)
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    assert without(config, carried) == without(as_before, carried)
    assert names - {*carried} == same_names
    after = {name: held for name, held in snapshot(case.there.root).items() if name.split("/")[0] != "grown"}
    assert after == before

"""Growths in this process, with `--verify`: as they should be, or with a fault put into a program."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from typing_extensions import override

from benchmarks.spoilt_growths.scenes import Scene
from benchmarks.spoilt_growths.spoil import Fault, spoilt
from growc.audit.audit import audit
from growc.audit.fault import CODE
from growc.checkpoint import prepare as preparing
from growc.checkpoint.command import grow
from growc.checkpoint.proof import Checked
from growc.checkpoint.request import Request
from growc.checkpoint.shards import ShardsReader
from growc.checkpoint.training import META, SHARDS, read_meta, read_tensor
from growc.diagnostics import GrowcError
from growc.files.beside import TRAINING
from growc.growth.decision import Decision, by_scores
from growc.growth.rewrite import Rewrite


class Outcome(StrEnum):
    """What became of a spoilt growth."""

    REFUSED = "refused"
    ACCEPTED = "accepted"
    EQUAL = "equal all the same"


def grown(scene: Scene, root: Path) -> str | None:
    """Grow as it should be; what was refused, in words, or None."""
    to = root / "right"
    try:
        _grow(scene, root, to)
    except GrowcError as error:
        return str(error)
    finally:
        shutil.rmtree(to, ignore_errors=True)
    return None


def spoilt_growth(scene: Scene, root: Path, rng: Random) -> tuple[Outcome, Fault, str]:
    """Grow with one fault; what became of it, the fault, and what was told.

    Raises:
        AssertionError: it was refused, and something was left behind.
    """
    to = root / "spoilt"
    with _spoiling(scene, rng) as put:
        try:
            _grow(scene, root, to)
        except GrowcError as error:
            if {told.code for told in error.diagnostics} != {CODE}:
                raise
            assert not to.exists(), "the destination of a refused growth"
            assert not to.with_name("spoilt.partial").exists(), "what a refused growth leaves"
            return Outcome.REFUSED, put[0], str(error)
    try:
        same = _digests(to) == _right(scene.spec(root))
        return (Outcome.EQUAL if same else Outcome.ACCEPTED), put[0], ""
    finally:
        shutil.rmtree(to)


def _grow(scene: Scene, root: Path, to: Path) -> None:
    _grow_by(scene.spec(root), to)


def _grow_by(spec: Path, to: Path) -> None:
    request = Request(spec, "grow", spec.parent / "source", to)
    with patch.object(preparing, "check_growth", _unchecked):
        grow(request, preparing.prepare, verify=True, audit=audit, workers=1)


def _unchecked(*_: Any) -> Checked:
    """What the programs themselves are asked before, and many a fault does not pass: here the audit is on trial."""
    return Checked((), "")


@cache
def _right(spec: Path) -> dict[str, str]:
    """The weights of a growth as it should be."""
    to = spec.with_suffix(".right")
    try:
        _grow_by(spec, to)
        return _digests(to)
    finally:
        shutil.rmtree(to)


def _digests(folder: Path) -> dict[str, str]:
    """Of all weights, and of all that the state of an optimizer holds."""
    files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    state = folder / TRAINING
    if state.exists():
        reader = ShardsReader(state / SHARDS)
        for key in reader.read_metadata().state_dict_metadata:
            files[key] = read_tensor(state, key, reader).numpy().tobytes()
        files[META] = json.dumps(read_meta(state).moments, sort_keys=True).encode()
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}


@contextmanager
def _spoiling(scene: Scene, rng: Random) -> Generator[list[Fault]]:
    """Within, the growth of one of the operators gets one fault, which is listed, once all measured is bound."""
    put, left = list[Fault](), [rng.randrange(len(scene.operators))]

    class Spoilt(Decision):
        @override
        def bound(self, planned: Rewrite) -> Rewrite:
            wrong, fault = spoilt(super().bound(planned), rng, trained=scene.trained)
            put.append(fault)
            return wrong

    def decided(planned: Rewrite, scores: Any) -> Decision:
        right = by_scores(planned, scores)
        left[0] -= 1
        return Spoilt(right.op, right.replicas, right.scores, right.units, right.means) if left[0] == -1 else right

    with patch.object(preparing, "by_scores", decided):
        yield put

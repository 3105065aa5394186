"""Growths in this process, with `--verify`: as they should be, or with a fault put into a program."""

from __future__ import annotations

import hashlib
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
from growc.checkpoint.request import Request
from growc.diagnostics import GrowcError
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
    with _spoiling(rng.randrange(len(scene.operators)), rng) as put:
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
    grow(request, preparing.prepare, verify=True, audit=audit, workers=1)


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
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))}


@contextmanager
def _spoiling(place: int, rng: Random) -> Generator[list[Fault]]:
    """Within, the growth of the operator at `place` gets one fault, which is listed, once all measured is bound."""
    put, left = list[Fault](), [place]

    class Spoilt(Decision):
        @override
        def bound(self, planned: Rewrite) -> Rewrite:
            wrong, fault = spoilt(super().bound(planned), rng)
            put.append(fault)
            return wrong

    def decided(planned: Rewrite, scores: Any) -> Decision:
        right = by_scores(planned, scores)
        left[0] -= 1
        return Spoilt(right.op, right.replicas, right.scores, right.units, right.means) if left[0] == -1 else right

    with patch.object(preparing, "by_scores", decided):
        yield put

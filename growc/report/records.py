"""The files of a run folder as they are written by the run: read whole, checked, or refused with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from growc.diagnostics import Span, fail
from growc.plan.plan import InvariantRecord

Read = TypeVar("Read", bound=BaseModel)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Result(_Record):
    """`result.json` of a finished stage. Losses are per validation window, in nats per token.

    `predicted_val_losses` are those of the source under the K_eff law; `load` counts the tokens of every expert over
    the validation windows, by layer; `sibling_cosine` is the mean cosine of copies with the first of their group.
    """

    val_losses: tuple[float, ...]
    val_losses_before: tuple[float, ...] | None = None
    predicted_val_losses: tuple[float, ...] | None = None
    k_eff: dict[int, float] | None = None
    seconds: float | None = None
    load: dict[int, tuple[int, ...]] = {}
    sibling_cosine: dict[int, float] = {}


class Row(_Record):
    """A line of `metrics.jsonl`: either of training (`loss`, `tokens_per_second`) or of validation (`val_loss`)."""

    step: int
    loss: float | None = None
    tokens_per_second: float | None = None
    val_loss: float | None = None


class Event(_Record):
    """A line of `journal.jsonl`; `time` is in seconds since 1970."""

    time: float
    event: str
    stage: str | None = None
    step: int | None = None
    state: str | None = None
    ranks: int | None = None
    layout: str | None = None
    device: str | None = None


class Comparison(_Record):
    """The grown arm against its controls; a number is null where it means nothing, and `why_null` says why."""

    eta: float | None = None
    eta_noise: float | None = None
    gap: float | None = None
    noise: float | None = None
    saving: float | None = None
    sunk_saving: float | None = None
    why_null: str | None = None


class Load(_Record):
    """The experts of one layer: the busiest one's load over the mean, and how many get under 1 % of the mean."""

    max_over_mean: float
    dead: int


class Theorem(_Record):
    """The terms of the paper's theorem, a diagnostic; ratios of distances by layer."""

    phi: float | None = None
    capacity_term: float | None = None
    init_term: dict[int, float | None] = {}


class ArmRecord(_Record):
    """One arm at one point of a sweep; `end` and `controls` are stages. Differences are arm minus control, in nats."""

    point: dict[str, str] = {}
    arm: str
    end: str
    seed: int
    controls: dict[str, str] = {}
    val_loss: float
    vs_source: float | None = None
    val_loss_before_growth: float | None = None
    val_loss_after_growth: float | None = None
    predicted_val_loss: float | None = None
    tokens_to_pass_source: int | None = None
    sibling_cosine: dict[int, float] = {}
    load: dict[int, Load] = {}
    theorem: Theorem | None = None


class GroupRecord(_Record):
    """Arms that differ in their seed only, with standard errors over seeds; `ends` are their last stages."""

    point: dict[str, str] = {}
    arm: str
    n: int
    seeds: tuple[int, ...]
    ends: tuple[str, ...]
    val_loss: float
    val_loss_se: float | None = None
    eta: float | None = None
    eta_se: float | None = None
    vs_source: float | None = None
    vs_source_se: float | None = None
    vs_target: float | None = None
    vs_target_se: float | None = None
    saving: float | None = None
    sunk_saving: float | None = None
    why_null: str | None = None


class Summary(_Record):
    """What the report takes from `summary.json`; the rest it knows from the stages themselves.

    Summaries of earlier versions have no `arms` and no `groups`.
    """

    comparison: Comparison = Comparison()
    invariants: tuple[InvariantRecord, ...] = ()
    arms: tuple[ArmRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()


def read_record(path: Path, kind: type[Read]) -> Read:
    """Read a JSON file.

    Raises:
        GrowcError: it cannot be read, or is not what it should be (GROW632).
    """
    return _checked(path, _text(path), kind, 1)


def read_lines(path: Path, kind: type[Read]) -> list[Read]:
    """Read a file of JSON lines; a last line cut short by a crash does not count, nor does a missing file.

    Raises:
        GrowcError: it cannot be read, or a line is not what it should be (GROW632).
    """
    if not path.exists():
        return []
    lines = _text(path).splitlines(keepends=True)
    whole = lines if not lines or lines[-1].endswith("\n") else lines[:-1]
    return [_checked(path, line, kind, number) for number, line in enumerate(whole, 1)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail("GROW632", f"cannot read {path}: {error}", help="the run may still be writing, or the file is damaged")


def _checked(path: Path, text: str, kind: type[Read], line: int) -> Read:
    try:
        values: Any = json.loads(text)  # JSON of the standard library knows NaN, which a diverged run writes
        return kind.model_validate(values)
    except json.JSONDecodeError as error:
        _damaged(path, f"not JSON: {error.msg}", line + error.lineno - 1, error.colno)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        _damaged(path, f"{place}: {first['msg']}" if place else first["msg"], line, 1)


def _damaged(path: Path, what: str, line: int, column: int) -> NoReturn:
    fail(
        "GROW632",
        f"{path.name} is damaged: {what}",
        help="run the same command again to write it anew, or delete the stage's folder and resume",
        span=Span(str(path), line, column),
    )

"""The plan: what a spec will do, frozen. Everything that is shown of it can be told from the file alone."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from growc.diagnostics import Diagnostic, Severity, Span
from growc.diagnostics.invariant import ROUNDING, Invariant


class Part(BaseModel):
    """A frozen part of the plan; unknown keys are refused, so that a plan of another version is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Finding(Part):
    """A diagnostic, as the commands' JSON has it; all of the place is null where there is none."""

    code: str
    severity: Severity
    file: str | None
    line: int | None
    column: int | None
    message: str
    help: str

    @classmethod
    def of(cls, diagnostic: Diagnostic) -> Finding:
        """The record of a diagnostic."""
        d, span = diagnostic, diagnostic.span
        place = (span.file, span.line, span.column) if span else (None, None, None)
        return cls(
            code=d.code, severity=d.severity, message=d.message, help=d.help,
            file=place[0], line=place[1], column=place[2],
        )  # fmt: skip

    def diagnostic(self) -> Diagnostic:
        """The diagnostic again; the width of its place is lost."""
        span = Span(self.file, self.line or 1, self.column or 1) if self.file is not None else None
        return Diagnostic(self.code, self.message, self.help, span, self.severity)


class InvariantRecord(Part):
    """One invariant at one stage; see `growc.checks.Invariant`."""

    name: str
    stage: str
    status: Literal["held", "broken", "to_measure"]
    value: float | None
    limit: float | None
    detail: str = ""

    @property
    def bounded(self) -> bool:
        """Whether the value is a bound, below which there is only rounding."""
        return self.value in ROUNDING.get(self.name, ())

    @classmethod
    def of(cls, invariant: Invariant) -> InvariantRecord:
        """The record of an invariant."""
        return cls.model_validate(vars(invariant))


class Size(Part):
    """A model: parameters, forward FLOPs per token at the spec's sequence length, and layout.

    `experts` is the number in the largest layer; it and `top_k` are null without experts. `active_params` is null where
    the model has experts that growc did not find.
    """

    total_params: int
    active_params: int | None
    flops_per_token: float
    router_flops_per_token: float
    layers: int
    moe_layers: int
    experts: int | None
    top_k: int | None


class Tensors(Part):
    """How many tensors an operator creates, reshapes (their programs do more than carry over), copies and drops."""

    created: int
    reshaped: int
    copied: int
    dropped: int


class Operation(Part):
    """One operator of a grow stage: where it acts, and what it claims to preserve."""

    op: str
    sites: tuple[str, ...]
    preserves: str
    tensors: Tensors


class Stage(Part):
    """One stage of one arm, and the model after it. `from` names stages, or `stage.stable`; none for the source."""

    name: str
    kind: Literal["train", "grow"]
    start: tuple[str, ...] = Field(alias="from")
    steps: int
    tokens: int
    model: Size
    operators: tuple[Operation, ...]


class Change(Part):
    """Tensors of several layers that change alike: `name` has ranges of layers in braces."""

    symbol: Literal["+", "~", "-"]
    name: str
    count: int
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None
    program: str


class Growth(Part):
    """What a grow stage does, in detail: an entry of `settings` and of `changes` for each operator.

    `loads` says what it takes to load the grown model.
    """

    stage: str
    preserves: str
    before: Size
    settings: tuple[str, ...]
    changes: tuple[tuple[Change, ...], ...]
    k_eff: str
    loads: str = ""


class Cost(Part):
    """Training tokens and FLOPs (3 x forward) that each arm adds; a stage that arms share counts for the first.

    `grow_core_seconds` has an estimate for every grow stage: how long one core takes to compute what is not copied, by
    decompositions, products and draws. Ranks share it, each with one thread. Plans of earlier versions have none.
    """

    train_tokens: dict[str, int]
    train_flops: dict[str, float]
    grow_core_seconds: dict[str, float] = Field(default_factory=dict)


class Sweep(Part):
    """The axes of a sweep with their labels, and what its arms save by training once what they have in common.

    `arms` counts controls too.
    """

    axes: dict[str, tuple[str, ...]]
    points: int
    arms: int
    saved_stages: int
    saved_tokens: int
    saved_flops: float


class Plan(Part):
    """A spec, what it starts from, what it will do, and what is known to be true of that.

    `spec_text` is the spec as it was read, so that a run needs no other file for it; paths in it start from the folder
    of `spec_path`. `hashes` are of the spec's values, the source model and the versions of what growc computes;
    `values` are the spec's, overrides included. `automatic` says by which rules a run chooses what is auto; plans of
    earlier versions have none.
    """

    growc_plan: Literal[1] = 1
    name: str
    spec_path: str
    spec_text: str
    overrides: tuple[str, ...]
    hashes: dict[str, str]
    values: dict[str, Any]
    source: str
    stages: tuple[Stage, ...]
    growth: tuple[Growth, ...]
    cost: Cost
    sweep: Sweep | None = None
    automatic: dict[str, str] = Field(default_factory=dict)
    diagnostics: tuple[Finding, ...]
    invariants: tuple[InvariantRecord, ...]

    def findings(self) -> tuple[Diagnostic, ...]:
        """What the checks found."""
        return tuple(finding.diagnostic() for finding in self.diagnostics)

"""The language: a spec's sections as frozen pydantic models; their descriptions feed editors and messages."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, model_validator

from growc.operators import OPERATORS, Operator, operator
from growc.spec.baselines import Baseline
from growc.spec.data import CorpusSpec, Data, Jsonl, PythonSource, Text, Tokens, Validation
from growc.spec.fields import Auto, Name, One, Part, complaint
from growc.spec.kernels import Kernels
from growc.spec.training import (
    AdamW,
    Balance,
    Constant,
    Cosine,
    Muon,
    Optimizer,
    Precision,
    Schedule,
    Sgd,
    Train,
    Training,
    Wsd,
)
from growc.spec.wording import guess, quoted

VERSION = 1


def _version(value: object) -> object:
    if isinstance(value, bool) or value != VERSION:
        raise complaint("GROW100", f"this growc knows version {VERSION} of the language", f"write `growth: {VERSION}`")
    return VERSION


class Model(Part):
    """Where the first model comes from: exactly one of `hub`, `path`, `config` and `module`."""

    hub: str | None = Field(default=None, min_length=1, description="id of a model on the Hugging Face hub")
    revision: str | None = Field(default=None, min_length=1, description="branch, tag or commit on the hub")
    path: str | None = Field(
        default=None,
        min_length=1,
        description="a Hugging Face folder, or a growc checkpoint with optimizer state",
    )
    config: dict[str, Any] | str | None = Field(
        default=None,
        description="a Hugging Face config, as keys or as a config.json's path; weights come from the seed",
    )
    module: str | None = Field(
        default=None,
        pattern=r"^[\w.]+:[\w.]+$",
        description="package.module:function that returns a torch.nn.Module",
    )

    @property
    def source(self) -> Literal["hub", "path", "config", "module"]:
        """Which of the four is given."""
        return next(key for key in _SOURCES if getattr(self, key) is not None)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in _SOURCES if getattr(self, key) is not None]
        if not given:
            help = "give exactly one of `hub`, `path`, `config` and `module`"
            raise complaint("GROW110", "the model has no source", help)
        if len(given) > 1:
            message = f"the model has {len(given)} sources: {', '.join(given)}"
            raise complaint("GROW110", message, "keep one of them", *given)
        if self.revision is not None and self.hub is None:
            message = f"`revision` means nothing for a model from `{given[0]}`"
            raise complaint("GROW112", message, "remove it, or take the model from `hub`", "revision")
        return self


_SOURCES: tuple[Literal["hub", "path", "config", "module"], ...] = ("hub", "path", "config", "module")


def _operator(value: Any) -> Operator:
    if isinstance(value, Operator):
        return value
    if not isinstance(value, dict):
        raise complaint("GROW103", "an operator must be a mapping", "write `- op: expert_upcycling`")
    values = cast(dict[str, Any], value)
    if "op" not in values:
        raise complaint("GROW102", "the operator has no `op`", guess("", OPERATORS))
    name = values["op"]
    if not isinstance(name, str) or name not in OPERATORS:
        message = f"there is no operator {quoted(str(name))}"
        raise complaint("GROW106", message, f"{guess(str(name), OPERATORS)}; see `growc operators`", "op")
    parameters = {key: values[key] for key in values if key != "op"}
    # As JSON, because only pydantic's JSON mode is strict about numbers and still makes tuples and enums.
    return operator(name).model_validate_json(json.dumps(parameters), strict=True)


def _dumped(value: Operator) -> dict[str, Any]:
    return {"op": value.op, **value.model_dump(mode="json")}


GrowStep = Annotated[Operator, PlainValidator(_operator), PlainSerializer(_dumped)]


class Stage(Part):
    """One step of the plan: training, or growth."""

    name: Name = Field(description="what the stage is called; `from` and the run folder use it")
    from_: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        alias="from",
        description="the state to start from, if not the stage before: a stage's name, name.stable for its state "
        "before the learning rate falls, source for the model, or sources.NAME; a list for an operator that mixes",
    )
    train: Train | None = Field(default=None, description="train the model")
    grow: tuple[GrowStep, ...] | None = Field(
        default=None, min_length=1, description="operators to apply, in this order"
    )

    @property
    def origins(self) -> tuple[str, ...]:
        """The states in `from`; none where it says nothing."""
        return (self.from_,) if isinstance(self.from_, str) else self.from_ or ()

    @property
    def kind(self) -> Literal["train", "grow"]:
        """What the stage does."""
        return "train" if self.train is not None else "grow"

    @model_validator(mode="after")
    def _train_or_grow(self) -> Self:
        if (self.train is None) == (self.grow is None):
            if self.train is None:
                help = "give it `train: {steps: ...}` or `grow: [...]`"
                raise complaint("GROW111", f"the stage `{self.name}` does nothing", help)
            message = f"the stage `{self.name}` both trains and grows"
            raise complaint("GROW111", message, "make it two stages", "train", "grow")
        return self


class ActiveFlops(Part):
    """Growth must leave the work per token as it is."""

    max_change: float = Field(
        ge=0,
        description="largest relative change of forward FLOPs per token at sequence_length, router included",
    )


class LossInvariant(Part):
    """Growth must not lose what was learnt."""

    max_increase: float = Field(ge=0, description="largest rise of the validation loss at a grow stage, in nats")


class TotalParams(Part):
    """The grown model must fit."""

    max: int = Field(ge=1, description="largest number of parameters of any model in the plan")


class Invariants(Part):
    """What must stay true at every grow stage."""

    active_flops: ActiveFlops | None = Field(default=None, description="bound on the change of active FLOPs per token")
    loss: LossInvariant | None = Field(default=None, description="bound on the rise of the validation loss")
    total_params: TotalParams | None = Field(default=None, description="bound on the number of parameters")


class Parallel(Part):
    """How one model is spread over devices."""

    fsdp: Annotated[int, Field(ge=1)] | Auto = Field(
        default="auto", description="devices that share one copy of the weights"
    )
    replicate: Annotated[int, Field(ge=1)] = Field(
        default=1, description="copies of the weights; gradients are averaged over them once they are summed in each"
    )
    ep: Annotated[int, Field(ge=1)] | Auto = Field(
        default="auto", description="devices that share the experts of a layer"
    )
    tp: One = Field(default=1, description="devices that share one matrix; only 1 is supported")


Axis = Annotated[list[Any], Field(min_length=1)] | Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


class Spec(Part):
    """A whole `.growth.yaml` file."""

    growth: Annotated[Literal[1], BeforeValidator(_version)] = Field(description="version of the language")
    name: str = Field(
        min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$", description="what the plan is called, in one line"
    )
    model: Model = Field(description="where the first model comes from")
    sources: dict[Name, Model] = Field(
        default={}, description="further models, which stages start from as `from: sources.NAME`"
    )
    data: Data | None = Field(default=None, description="what it is trained and evaluated on")
    training: Training = Field(default=Training(), description="what train stages inherit, and may override")
    stages: tuple[Stage, ...] = Field(min_length=1, description="the steps, each after the one before unless `from`")
    invariants: Invariants = Field(default=Invariants(), description="what must hold at every grow stage")
    baselines: tuple[Baseline, ...] = Field(
        default=(),
        description="control arms: fixed_source never grows, fixed_target starts at the target's size; the others "
        "grow by chance (random_allocation), with top-K scaled too (scaled_top_k), or fresh experts (random_experts)",
    )
    sweep: dict[str, Axis] = Field(
        default={},
        description="axes, of which every combination is an arm: a path with its values, as `training.seed: [0, 1]`, "
        "or a name with labels and the values that each sets, as `arm: {free: {PATH: VALUE}}`",
    )
    parallel: Parallel = Field(default=Parallel(), description="how models are spread over devices")
    kernels: Kernels = Field(default=Kernels(), description="which code computes them")

    def training_for(self, stage: Stage) -> Training:
        """What a train stage trains with: `training` with the stage's own overrides."""
        assert stage.train is not None
        return stage.train.over(self.training)


__all__ = [
    "ActiveFlops",
    "AdamW",
    "Axis",
    "Balance",
    "Baseline",
    "Constant",
    "CorpusSpec",
    "Cosine",
    "Data",
    "GrowStep",
    "Invariants",
    "Jsonl",
    "Kernels",
    "LossInvariant",
    "Model",
    "Muon",
    "Optimizer",
    "Parallel",
    "Precision",
    "PythonSource",
    "Schedule",
    "Sgd",
    "Spec",
    "Stage",
    "Text",
    "Tokens",
    "TotalParams",
    "Train",
    "Training",
    "Validation",
    "Wsd",
]

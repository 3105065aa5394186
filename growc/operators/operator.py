"""The operator protocol: an operator is a small frozen model whose fields are its YAML.

An operator gives two programs for every tensor: one for the weights and one for their gradients. Adam's first moment
follows the gradient program and its second moment the square of it; following the weight program instead is wrong
wherever a scale is involved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from growc.operators.sites import MoeSite, SiteKind
from growc.programs import Expr

Replicas = tuple[int, ...]
"""How many experts of the grown layer come from each expert of the source layer (each at least 1)."""


class Preserves(StrEnum):
    """What becomes of the model's function at the moment of growth."""

    EXACTLY = "exactly"
    NEARLY = "nearly"
    NOT = "not"

    def worst(self, other: Preserves) -> Preserves:
        """The class of two operators in a row."""
        order = list(Preserves)
        return max(self, other, key=order.index)


@dataclass(frozen=True)
class Paper:
    """Where an operator was published."""

    arxiv: str
    title: str
    year: int


class Role(StrEnum):
    """What a tensor is to the site that grows."""

    EXPERT = "expert"
    ROUTER = "router"
    SELECTION_BIAS = "selection_bias"
    OTHER = "other"


@dataclass(frozen=True)
class Target:
    """One tensor of the grown model. `site` and `shape` are those of the *source*; no site for `Role.OTHER`."""

    name: str
    shape: tuple[int, ...]
    role: Role = Role.OTHER
    site: MoeSite | None = None


@dataclass(frozen=True)
class Moments:
    """Programs for an optimizer's state of one tensor: first and second moment (None: zeros), and the step count."""

    first: Expr | None
    second: Expr | None
    keep_step: bool


@dataclass(frozen=True)
class Problem:
    """Why an operator cannot be applied to a model; `where` is the path of the offending value inside the operator."""

    code: str
    message: str
    help: str
    where: tuple[str | int, ...] = ()


class Growable(Protocol):
    """What an operator may know of a model. `expert_field` is the config key that sets the number of experts."""

    @property
    def model_type(self) -> str:
        """The family, by transformers' name."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The config as a mapping of JSON values."""
        ...

    @property
    def moe(self) -> tuple[MoeSite, ...]:
        """The layers with experts."""
        ...

    @property
    def expert_field(self) -> str | None:
        """The config key that sets the number of experts."""
        ...


class Operator(BaseModel, ABC):
    """A growth operator; its fields are the parameters that the YAML may give."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    op: ClassVar[str]
    site: ClassVar[SiteKind]
    paper: ClassVar[Paper]

    @abstractmethod
    def problems(self, model: Growable) -> Iterator[Problem]:
        """Why this operator cannot grow `model`, if it cannot."""

    @abstractmethod
    def sites(self, model: Growable) -> tuple[MoeSite, ...]:
        """The layers of `model` that grow."""

    @abstractmethod
    def preserves(self, model: Growable) -> Preserves:
        """The class of preservation that this operator claims on `model`, and that the checks hold it to."""

    @property
    @abstractmethod
    def measured(self) -> bool:
        """Whether the allocation needs scores that are measured at run time."""

    @abstractmethod
    def allocate(self, site: MoeSite, scores: tuple[float, ...] | None = None) -> Replicas:
        """Replicas of one layer's experts. Without scores, all count the same: the layout that the plan shows."""

    @abstractmethod
    def config(self, model: Growable, replicas: Mapping[int, Replicas]) -> dict[str, Any]:
        """The config of the grown model, given the replicas of every grown layer."""

    @abstractmethod
    def weight(self, target: Target) -> Expr:
        """The target over source tensors; asked for every tensor of the grown model."""

    @abstractmethod
    def gradient(self, target: Target) -> Expr:
        """Its expected gradient over source gradients."""

    @abstractmethod
    def moments(self, target: Target) -> Moments:
        """Its optimizer state over the source's."""

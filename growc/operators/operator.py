"""The operator protocol: an operator is a small frozen model whose fields are its YAML.

An operator gives two programs for every tensor: one for the weights and one for their gradients. Adam's first moment
follows the gradient program and its second moment the square of it; following the weight program instead is wrong
wherever a scale is involved. What only some operators do is a facet (`growc.operators.facets`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from growc.anatomy.matches import Match
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import FfnSite, MoeSite, ResolvedMoe, SiteKind
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.programs import Expr


class Operator(BaseModel, ABC):
    """A growth operator; its fields are the parameters that the YAML may give."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    op: ClassVar[str]
    site: ClassVar[SiteKind]
    paper: ClassVar[Paper]
    version: ClassVar[int] = 1
    """Raised when the same settings make other weights or moments of the same model than before."""

    @abstractmethod
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        """Why this operator cannot grow `model`, if it cannot."""

    def sites(self, model: ModelGraph) -> tuple[MoeSite | FfnSite, ...]:  # noqa: ARG002, for those that have some
        """The layers of `model` whose experts, or whose network, grow: none, if they grow in another way."""
        return ()

    @abstractmethod
    def preserves(self, model: ModelGraph) -> Preserves:
        """The class of preservation that this operator claims on `model`, and that the checks hold it to."""

    @abstractmethod
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        """The config of the grown model, given the replicas of every grown layer.

        `moe` is what was found for the mixtures that the operator wants; it is not None where it wants some.
        """

    @abstractmethod
    def weight(self, tensor: Match) -> Expr:
        """The tensor over those of the source; asked for every tensor of the grown model."""

    @abstractmethod
    def gradient(self, tensor: Match) -> Expr:
        """Its expected gradient over source gradients."""

    @abstractmethod
    def moments(self, tensor: Match) -> Moments:
        """Its optimizer state over the source's."""

"""The operator protocol: an operator is a small frozen model whose fields are its YAML.

An operator gives two programs for every tensor: one for the weights and one for their gradients. Adam's first moment
follows the gradient program and its second moment the square of it; following the weight program instead is wrong
wherever a scale is involved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

from growc.anatomy.matches import Match
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import KeptUnits, Replicas
from growc.anatomy.sites import FfnSite, MoeRequest, MoeSite, ResolvedMoe, SiteKind
from growc.operators.ancestry import Ancestry
from growc.operators.claims import FreeTopK, Moments, Paper, Preserves, Problem
from growc.operators.copies_rate import CopiesRate
from growc.operators.initialisation import Initialisation
from growc.operators.measures import Measure
from growc.programs import Expr


class Operator(BaseModel, ABC):
    """A growth operator; its fields are the parameters that the YAML may give."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    op: ClassVar[str]
    site: ClassVar[SiteKind]
    paper: ClassVar[Paper]
    version: ClassVar[int] = 1
    """Raised when the same settings make other weights or moments of the same model than before."""
    releases: ClassVar[bool] = False
    """Whether it lets siblings compete again: what that does to the loss is measured before anything changes."""
    mixes: ClassVar[bool] = False
    """Whether it makes one model of several of one architecture, which its programs tell apart by `of_parent`."""
    initialisations: ClassVar[Mapping[str, tuple[str, Mapping[str, type[Initialisation]]]]] = {}
    """Field that chooses how copies start -> what such initialisations are called together, and their table."""

    @abstractmethod
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        """Why this operator cannot grow `model`, if it cannot."""

    def mixing(self, parents: int) -> Self:  # noqa: ARG002, for those that mix
        """The operator with all settled that the number of states that are mixed settles."""
        return self

    def others(self, model: ModelGraph) -> Mapping[str, Any]:
        """The config of the models that are mixed with `model`, which has no `problems`: its own, but for those that
        mix models of two kinds.
        """
        return model.config

    def problems_together(
        self,
        models: Sequence[ModelGraph],  # noqa: ARG002, for those that mix
        pasts: Sequence[Ancestry],  # noqa: ARG002
    ) -> Iterator[Problem]:
        """Why an operator that mixes cannot make one of just these models, each of which has no `problems`."""
        yield from ()

    @abstractmethod
    def sites(self, model: ModelGraph) -> tuple[MoeSite | FfnSite, ...]:
        """The layers of `model` that grow."""

    @abstractmethod
    def preserves(self, model: ModelGraph) -> Preserves:
        """The class of preservation that this operator claims on `model`, and that the checks hold it to."""

    def remarks(self, model: ModelGraph) -> Iterator[Problem]:  # noqa: ARG002, most have none
        """What is not wrong, but should be known of growing `model` so."""
        yield from ()

    def drops(self, model: ModelGraph) -> frozenset[str]:  # noqa: ARG002, most drop none
        """The tensors of `model` that nothing of the grown model comes from."""
        return frozenset()

    @property
    def measure(self) -> Measure | None:
        """What is measured at run time to settle the operator, if anything is."""
        return None

    @property
    def measured(self) -> bool:
        """Whether something is settled at run time."""
        return self.measure is not None

    @property
    def free_top_k(self) -> FreeTopK | None:
        """What plain top-K makes of the copies that the operator makes, where one of them takes a place of the top-K
        of its source; None where none does.
        """
        return None

    @property
    def skipping_over(self) -> int:
        """Calibration batches over which dynamic skipping is measured once the model has grown; 0: it is not."""
        return 0

    @property
    def rate_of_copies(self) -> CopiesRate | None:
        """The learning rate of the copies that it makes, if they have one of their own."""
        return None

    def siblings(self, before: Mapping[int, Replicas], replicas: Mapping[int, Replicas]) -> dict[int, Replicas]:
        """Sizes of the groups of siblings in every layer after this operator, given those before it.

        Siblings are the experts that the last growth of their layer made from one.
        """
        return {**before, **replicas}

    def control(self, name: str) -> Operator | None:  # noqa: ARG002, most operators have none
        """What grows in the place of this operator in the control arm that the baseline `name` asks for, if any."""
        return None

    def wants(self, model: ModelGraph) -> MoeRequest | None:  # noqa: ARG002, for those that make experts
        """The mixtures that the operator makes of dense feed-forward networks, if it makes any.

        A class that can hold them is searched for; where there is none, the operator cannot grow `model`.
        """
        return None

    def map_order(self, model: ModelGraph, moe: ResolvedMoe | None) -> tuple[int, ...]:  # noqa: ARG002
        """Where the `up` maps of a dense network stand in an expert's tensor of the grown model."""
        return moe.order if moe else ()

    def allocate(
        self,
        site: MoeSite | FfnSite,
        scores: tuple[float, ...] | None = None,  # noqa: ARG002, for those that replicate
        seed: str = "",  # noqa: ARG002
    ) -> Replicas:
        """Replicas of one layer's experts, one each where nothing is replicated.

        Without scores, all count the same: the layout that the plan shows. `seed` is the growth step's, for rules that
        draw.
        """
        return (1,) * site.num_experts

    def units(self, site: MoeSite, scores: tuple[float, ...]) -> KeptUnits:  # noqa: ARG002, for those that slim
        """The intermediate units that the experts of one layer keep; none said: all.

        `scores` has one number for every unit of every expert, in the same order; shared experts come last.
        """
        return ()

    @abstractmethod
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        """The config of the grown model, given the replicas of every grown layer.

        `moe` is what was found for the mixtures that the operator `wants`; it is not None where it wants some.
        """

    @abstractmethod
    def weight(self, tensor: Match) -> Expr:
        """The tensor over those of the source; asked for every tensor of the grown model."""

    @abstractmethod
    def gradient(self, tensor: Match) -> Expr:
        """Its expected gradient over source gradients."""

    def closed(self, tensor: Match) -> bool:  # noqa: ARG002, for those that add tensors behind zeros
        """Whether the tensor has no gradient at the moment of growth, since all that it leads to is multiplied by 0."""
        return False

    def seconds(self, tensor: Match) -> float:  # noqa: ARG002, most compute next to nothing
        """How long one core takes for the tensor, beyond copying bytes."""
        return 0.0

    @abstractmethod
    def moments(self, tensor: Match) -> Moments:
        """Its optimizer state over the source's."""

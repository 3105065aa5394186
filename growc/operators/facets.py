"""What only some operators do: an operator that does is a subclass of the facet, and the compiler asks by `isinstance`.

Where an operator without a facet counts as one that does nothing, a function beside the facet says so once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from growc.anatomy.layer_order import Order
from growc.anatomy.matches import Match
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import KeptUnits, Replicas
from growc.anatomy.sites import FfnSite, MoeRequest, MoeSite, ResolvedMoe
from growc.anatomy.widths import WidthAxis
from growc.operators.ancestry import Ancestry
from growc.operators.claims import FreeTopK, Problem
from growc.operators.copies_rate import CopiesRate
from growc.operators.initialisation import Initialisation
from growc.operators.measures import Measure

if TYPE_CHECKING:
    from growc.operators.operator import Operator


class Mixes(ABC):
    """It makes one model of several of one architecture, which its programs tell apart by `of_parent`."""

    def mixing(self, parents: int) -> Self:  # noqa: ARG002, for those that need it
        """The operator with all settled that the number of states that are mixed settles."""
        return self

    def others(self, model: ModelGraph) -> Mapping[str, Any]:
        """The config of the models that are mixed with `model`, which has no `problems`: its own, but for those that
        mix models of two kinds.
        """
        return model.config

    @abstractmethod
    def problems_together(self, models: Sequence[ModelGraph], pasts: Sequence[Ancestry]) -> Iterator[Problem]:
        """Why it cannot make one of just these models, each of which has no `problems`."""


class ChangesExperts:
    """It makes several experts of one, or of a dense network, or leaves some out."""

    def allocate(
        self,
        site: MoeSite | FfnSite,
        scores: tuple[float, ...] | None = None,  # noqa: ARG002, for those that rank
        seed: str = "",  # noqa: ARG002
    ) -> Replicas:
        """Replicas of one layer's experts.

        Without scores, all count the same: the layout that the plan shows. `seed` is the growth step's, for rules that
        draw.
        """
        return (1,) * site.num_experts

    def siblings(self, before: Mapping[int, Replicas], replicas: Mapping[int, Replicas]) -> dict[int, Replicas]:
        """Sizes of the groups of siblings in every layer after this operator, given those before it.

        Siblings are the experts that the last growth of their layer made from one.
        """
        return {**before, **replicas}


def replicas_of(
    operator: Operator, site: MoeSite | FfnSite, scores: tuple[float, ...] | None = None, seed: str = ""
) -> Replicas:
    """Replicas of one layer's experts: one each, but of an operator that changes experts."""
    if isinstance(operator, ChangesExperts):
        return operator.allocate(site, scores, seed)
    return (1,) * site.num_experts


class MakesMixtures:
    """It makes experts of dense networks, and asks for the mixtures that are to hold them."""

    def wants(self, model: ModelGraph) -> MoeRequest | None:  # noqa: ARG002, for those whose mixtures are there already
        """The mixtures that take the place of dense feed-forward networks of `model`, if any do.

        A class that can hold them is searched for; where there is none, the operator cannot grow `model`.
        """
        return None

    def map_order(self, model: ModelGraph, moe: ResolvedMoe | None) -> tuple[int, ...]:  # noqa: ARG002
        """Where the `up` maps of a dense network stand in an expert's tensor of the grown model."""
        return moe.order if moe else ()


def wanted_mixtures(operator: Operator, model: ModelGraph) -> MoeRequest | None:
    """The mixtures that an operator asks for, if any."""
    return operator.wants(model) if isinstance(operator, MakesMixtures) else None


def map_order_of(operator: Operator, model: ModelGraph, moe: ResolvedMoe | None) -> tuple[int, ...]:
    """Where the `up` maps of a dense network stand in an expert's tensor, where networks become experts."""
    return operator.map_order(model, moe) if isinstance(operator, MakesMixtures) else ()


class Measures(ABC):
    """Some of its settings make it measure something at run time, which settles its deferred vectors."""

    @property
    @abstractmethod
    def measure(self) -> Measure | None:
        """What is measured, if anything is."""


def measure_of(operator: Operator) -> Measure | None:
    """What is measured at run time to settle an operator, if anything is."""
    return operator.measure if isinstance(operator, Measures) else None


class Slims(ABC):
    """It leaves intermediate units of experts out."""

    @abstractmethod
    def units(self, site: MoeSite, scores: tuple[float, ...]) -> KeptUnits:
        """The units that the experts of one layer keep.

        `scores` has one number for every unit of every expert, in the same order; shared experts come last.
        """


class Copies(ChangesExperts, ABC):
    """It makes copies of experts, which plain top-K may choose beside each other, and which may have their own rate."""

    @property
    @abstractmethod
    def free_top_k(self) -> FreeTopK | None:
        """What plain top-K makes of the copies; None where no copy takes the place of another expert."""

    @property
    @abstractmethod
    def rate_of_copies(self) -> CopiesRate | None:
        """The learning rate of copies, if they have one of their own."""


def free_top_k_of(operator: Operator) -> FreeTopK | None:
    """What plain top-K makes of the copies that an operator makes, if one takes a place of the top-K of its source."""
    return operator.free_top_k if isinstance(operator, Copies) else None


class SkipsExperts(ABC):
    """It may ask what it would do to skip experts once the model has grown."""

    @property
    @abstractmethod
    def skipping_over(self) -> int:
        """Calibration batches over which that is measured; 0: it is not."""


class HasControls(ABC):
    """Some baselines grow otherwise in its place."""

    @abstractmethod
    def control(self, name: str) -> Operator | None:
        """What grows in the control arm that the baseline `name` asks for, if anything else does."""


def control_of(operator: Operator, name: str) -> Operator | None:
    """What grows in the place of an operator in the control arm that the baseline `name` asks for, if anything does."""
    return operator.control(name) if isinstance(operator, HasControls) else None


class LetsSiblingsCompete:
    """It ends exclusive routing: what that does to the loss is measured before anything changes."""


class Remarks(ABC):
    """There may be things that are not wrong, but should be known of growing a model so."""

    @abstractmethod
    def remarks(self, model: ModelGraph) -> Iterator[Problem]:
        """What should be known of growing `model`, which has no `problems`."""


class Drops(ABC):
    """It leaves tensors of the source out."""

    @abstractmethod
    def drops(self, model: ModelGraph) -> frozenset[str]:
        """The tensors of `model` that nothing of the grown model comes from."""


class Closes(ABC):
    """It adds tensors behind others that are zero, which have no gradient until these have moved."""

    @abstractmethod
    def closed(self, tensor: Match) -> bool:
        """Whether the tensor has no gradient at the moment of growth, since all that it leads to is multiplied by 0."""


class TakesLong(ABC):
    """It computes more than sums and copies."""

    @abstractmethod
    def seconds(self, tensor: Match) -> float:
        """How long one core takes for the tensor, beyond copying bytes."""


class HasInitialisations:
    """Some of its fields choose among initialisations, each a file with a page of its own."""

    initialisations: ClassVar[Mapping[str, tuple[str, Mapping[str, type[Initialisation]]]]]
    """Field that chooses how copies start -> what such initialisations are called together, and their table."""


class ReordersLayers(ABC):
    """It makes a model whose layers are those of the source, put together anew.

    The tensors of layers come to it as `growc.anatomy.matches.LayerPart`, under their new numbers.
    """

    @abstractmethod
    def layer_order(self, model: ModelGraph) -> Order:
        """For every layer of the grown model, the layer of `model` that it comes from; `model` has no `problems`."""

    @property
    @abstractmethod
    def closes(self) -> bool:
        """Whether layers that come again start closed, so that the tensors that do it are told apart."""


class WidensAxes(ABC):
    """It makes the axes of a model longer, by its config.

    Tensors whose shape changes come to it as `growc.anatomy.matches.Widened`, with what each of their dimensions holds.
    """

    @abstractmethod
    def axis_problems(self, axes: Collection[WidthAxis]) -> Iterator[Problem]:
        """Why these axes cannot become as long as the config makes them."""

    @abstractmethod
    def on_small(self, model: ModelGraph, small: ModelGraph) -> Operator:
        """The operator that does to a growth of `small`, a small version of `model`, what this one does to that of
        `model`.

        Raises:
            GrowcError: GROW406, if there is none.
        """

"""What a tensor of the grown model is to the operator that makes it: one type for each kind, with all fields set.

The compiler matches every tensor of the grown model once and asks the operator for its programs. Sites of tensors that
the source has are those of the source; sites of tensors that are made anew are those of the grown model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.sites import AttentionSite, FfnSite, MoeSite, Units
from growc.anatomy.widths import Stretch


@dataclass(frozen=True)
class Match:
    """A tensor of the grown model and its shape there; `source` is the model before.

    `parents` is how many states are mixed: programs name the tensors of all but the first by `of_parent`.
    """

    name: str
    shape: tuple[int, ...]
    source: ModelGraph = field(repr=False)
    parents: int

    @property
    def before(self) -> tuple[int, ...]:
        """Its shape in the source.

        Raises:
            KeyError: the source has no tensor of this name.
        """
        return self.source.tensors[self.name].shape


@dataclass(frozen=True)
class Kept(Match):
    """A tensor of nothing that grows: the source has it too."""


@dataclass(frozen=True)
class LayerPart(Match):
    """A tensor of a layer, where layers are put together anew.

    `origin` is its name in the source; with `again` a layer before has come from the same one.
    """

    origin: str
    again: bool

    @property
    def before(self) -> tuple[int, ...]:
        """Its shape in the source."""
        return self.source.tensors[self.origin].shape


@dataclass(frozen=True)
class BlockEnd(LayerPart):
    """The same, of those that close a layer which starts closed, where all of them are `closed_at`."""

    closed_at: float


@dataclass(frozen=True)
class Widened(Kept):
    """A tensor of which some dimension becomes longer; `stretches` say what each dimension holds.

    With `raised` it is a gain that is stored less 1.
    """

    stretches: tuple[tuple[Stretch, ...], ...]
    raised: bool


@dataclass(frozen=True)
class Projection(Kept):
    """The weight or the bias of an attention's projection."""


@dataclass(frozen=True)
class SharedExpert(Kept):
    """A tensor of an expert that every token gets, in a mixture that grows."""

    site: MoeSite


@dataclass(frozen=True)
class RouterPart(Kept):
    """A tensor of the router of a mixture that grows, without a row for each expert."""

    site: MoeSite


@dataclass(frozen=True)
class OfMixture(Match):
    """A tensor with a row for each expert, of a mixture that grows."""

    site: MoeSite


@dataclass(frozen=True)
class Expert(OfMixture):
    """Weights or biases of all experts."""

    @property
    def units(self) -> Units | None:
        """Where its intermediate units lie; None if it has none, as the bias of the way back has."""
        return next((units for units in self.site.units if units.tensor == self.name), None)


@dataclass(frozen=True)
class JoinedExpert(Expert):
    """The same where dense networks join the experts: `ffn` is that of the layer, and `order` says where its `up` maps
    stand in the tensor.
    """

    ffn: FfnSite
    order: tuple[int, ...]


@dataclass(frozen=True)
class RouterRows(OfMixture):
    """The router's weight, or the bias of its logits; `attention` are the attentions of the layer, in the source."""

    attention: tuple[AttentionSite, ...]


@dataclass(frozen=True)
class SelectionBias(OfMixture):
    """What is added to scores for the choice of experts alone."""


@dataclass(frozen=True)
class PerExpert(OfMixture):
    """Another vector with a number for each expert."""


@dataclass(frozen=True)
class NewExpert(Match):
    """Weights or biases of all experts of a mixture that takes the place of the dense network `ffn`.

    `order` says where the `up` maps of the network stand in the tensor.
    """

    site: MoeSite
    ffn: FfnSite
    order: tuple[int, ...]

    @property
    def units(self) -> Units | None:
        """Where its intermediate units lie; None if it has none, as the bias of the way back has."""
        return next((units for units in self.site.units if units.tensor == self.name), None)


@dataclass(frozen=True)
class NewRouter(Match):
    """A tensor of a router that the source does not have; `attention` are the attentions of its layer in the source."""

    site: MoeSite
    attention: tuple[AttentionSite, ...]

    @property
    def has_rows(self) -> bool:
        """Whether it has a row for each expert: the router's weight, or the bias of its logits."""
        return self.name in self.site.router_rows


@dataclass(frozen=True)
class NewSelectionBias(Match):
    """The selection bias of a mixture that takes the place of a dense network."""

    site: MoeSite


@dataclass(frozen=True)
class Added(Match):
    """Any other tensor that the source does not have under this name."""


@dataclass(frozen=True)
class NewSharedExpert(Added):
    """A tensor of the dense network that stays, beside the experts that join it; `origin` is its name in the source."""

    origin: str


@dataclass(frozen=True)
class AttentionExpert(Added):
    """A tensor of the attention numbered `expert` of several that take the place of one; `origin` is its name there."""

    expert: int
    origin: str


@dataclass(frozen=True)
class Adjugate(Added):
    """A tensor of small experts that groups of experts share; `down` leads back to the residual stream."""

    down: bool

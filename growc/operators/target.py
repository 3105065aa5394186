"""One tensor of the grown model, as an operator is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from growc.anatomy.sites import AttentionSite, FfnSite, MoeSite


class Role(StrEnum):
    """What a tensor is to the site that grows."""

    EXPERT = "expert"
    ROUTER = "router"
    SELECTION_BIAS = "selection_bias"
    PER_EXPERT = "per_expert"
    SHARED = "shared"
    OTHER = "other"
    ADDED = "added"


@dataclass(frozen=True)
class Target:
    """One tensor of the grown model. `site` and `shape` are those of the *source*; no site for `Role.OTHER`.

    A tensor that the source has none for, beside what a site is made of, is `Role.ADDED`; `shape` is the grown one.

    Where experts take the place of a `dense` feed-forward network, the source has no such tensor: `site` is that of the
    grown model, and `shape` the grown one. `order` says where that network's maps stand in an expert's tensor.
    `parents` is how many sources there are, for operators that mix. Where the further ones are dense and the first is
    not, `dense` is their network in the layer of an expert tensor. `projects` says that it is a weight or a bias of an
    attention's projection, and `experts` how many the first mixture of the source has.

    `made` is the shape of any target in the grown model. For all tensors of a router that grows, with a row for every
    expert or not, `mixture` is the grown model's site, and `attention` the one before it, in the source.
    """

    name: str
    shape: tuple[int, ...]
    role: Role = Role.OTHER
    site: MoeSite | None = None
    dense: FfnSite | None = None
    order: tuple[int, ...] = ()
    parents: int = 1
    made: tuple[int, ...] = ()
    mixture: MoeSite | None = None
    attention: AttentionSite | None = None
    projects: bool = False
    experts: int = 0

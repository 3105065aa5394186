"""How a stock router chooses and weighs, found by running it: the key of its top-K, and what repetition does.

A router is run on logits that are made up, and none of its weights are needed. With every logit repeated and the top-K
as many times larger, the siblings of what was chosen should be what is chosen now, and their gates say what must be
scaled for the layer to compute the same.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from growc.anatomy.grown_format import GROWN, routes_exclusively
from growc.anatomy.model_graph import Blocks
from growc.anatomy.sites import MoeSite, Repetition
from growc.diagnostics import GrowcError
from growc.model.axes import with_fields
from growc.model.build import REFUSALS, build_meta
from growc.nn.rewired import Rewired, inputs, selection_biases

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

TOKENS = 128
TIMES = 2
"""How often logits are repeated."""


def top_k_field(moe: tuple[MoeSite, ...], config: PreTrainedConfig, blocks: Blocks) -> str | None:
    """The one config key that sets how many experts a token gets in every layer, if there is one.

    Args:
        moe: every site of the whole model.
        config: of a model that has the first block of every kind.
        blocks: of the whole model.
    """
    first = _first(moe, blocks)
    found = [field for field in _candidates(config, first) if _sets_top_k(config, field, first)]
    return found[0] if len(found) == 1 else None


def repetitions(
    moe: tuple[MoeSite, ...], config: PreTrainedConfig, blocks: Blocks, expert_field: str | None, top_k: str | None
) -> tuple[MoeSite, ...]:
    """The sites with their `repetition`, as they were where it cannot be tried.

    Args:
        moe: every site of the whole model.
        config: of a model that has the first block of every kind.
        blocks: of the whole model.
        expert_field: the key that sets the number of experts.
        top_k: the key that sets how many of them a token gets.
    """
    if expert_field is None or top_k is None or routes_exclusively(config.to_dict()):
        return moe
    first = _first(moe, blocks)
    before, after = _built(config), _built(_scaled(config, expert_field, top_k))
    if before is None or after is None:
        return moe
    found = {letter: repetition(before, after, site) for letter, site in first.items()}
    return tuple(replace(site, repetition=found[blocks.letters[site.layer]]) for site in moe)


def _first(moe: tuple[MoeSite, ...], blocks: Blocks) -> dict[str, MoeSite]:
    return {blocks.letters[site.layer]: site for site in reversed(moe)}


def _candidates(config: PreTrainedConfig, sites: Mapping[str, MoeSite]) -> Iterator[str]:
    counts = {site.top_k for site in sites.values()}
    for field, number in config.to_dict().items():
        if type(number) is int and number in counts and not field.endswith("token_id"):
            yield field


def _sets_top_k(config: PreTrainedConfig, field: str, sites: Mapping[str, MoeSite]) -> bool:
    """Whether one more in a field is one more expert for every token in every layer."""
    for more in (1, -1):  # the first number that the family accepts
        changed = _built(with_fields(config, {field: getattr(config, field) + more}))
        if changed is None:
            continue
        return all(
            (routed := _route(changed, site, _logits(site))) is not None
            and bool(((routed.gates != 0).sum(dim=1) == site.top_k + more).all())
            for site in sites.values()
        )
    return False


def _scaled(config: PreTrainedConfig, *names: str) -> PreTrainedConfig:
    """The config with these fields `TIMES` as large, in layers that have their own as well."""
    scaled = copy.deepcopy(config)
    for name in names:
        setattr(scaled, name, TIMES * getattr(config, name))
        for entry in getattr(scaled, GROWN, {"layers": {}})["layers"].values():
            if name in entry:
                entry[name] *= TIMES
    return scaled


def _built(config: PreTrainedConfig) -> PreTrainedModel | None:
    try:
        return build_meta(config)
    except (GrowcError, *REFUSALS):
        return None


@dataclass(frozen=True)
class _Routed:
    """Gates of shape (tokens, experts), 0 where not chosen, and the scores that a selection bias was added to."""

    gates: Tensor
    scores: Tensor | None


def repetition(before: PreTrainedModel, after: PreTrainedModel, site: MoeSite) -> Repetition | None:
    """What the router of `after`, with more experts and a larger top-K, makes of the logits that `before` gets once."""
    once = _route(before, site, _logits(site))
    if once is None:
        return None
    shrink = False
    many = _route(after, site, _logits(site), TIMES)
    if many is not None and many.scores is not None and once.scores is not None:
        shrink = torch.allclose(many.scores[:, ::TIMES] * TIMES, once.scores)
        many = _route(after, site, _logits(site), TIMES, 1 / TIMES) if shrink else many
    if many is None:
        return None
    chosen = many.gates.unflatten(1, (-1, TIMES)) != 0
    same = bool((chosen == (once.gates != 0)[:, :, None]).all())
    added = many.gates.unflatten(1, (-1, TIMES)).sum(dim=2)
    alike = chosen.all(dim=2) & (once.gates != 0)  # where a choice in groups differs, gates may be divided otherwise
    rows = (alike.sum(dim=1) == site.top_k).nonzero().flatten()
    if not len(rows):
        return None
    for factor, adds_up in ((1, True), (TIMES, False)):
        if torch.allclose(added[rows], factor * once.gates[rows], rtol=1e-4, atol=1e-6):
            return Repetition(same, adds_up, shrink)
    return None


def _logits(site: MoeSite) -> Tensor:
    """Made-up logits of shape (tokens, experts), the same ones for the same number of experts."""
    generator = torch.Generator().manual_seed(site.num_experts)
    return torch.randn(TOKENS, site.num_experts, generator=generator)


def _route(
    model: PreTrainedModel, site: MoeSite, logits: Tensor, times: int = 1, bias_scale: float = 1.0
) -> _Routed | None:
    """What a router makes of `logits`, each of them standing there `times` times; None if it cannot be run so."""
    repeated = logits.repeat_interleave(times, dim=1)
    bias = torch.rand(site.num_experts, generator=torch.Generator().manual_seed(1)) / site.num_experts
    seen: list[Tensor] = []

    def with_bias(scores: Tensor, _: Tensor) -> Tensor:
        seen.append(scores)
        return scores + bias_scale * bias.repeat_interleave(times)

    try:
        router = model.get_submodule(site.rule)
        width = inputs(router)
        with torch.no_grad(), Rewired(selection_biases(router), lambda _: repeated, with_bias):
            out: tuple[Tensor, ...] = router(torch.zeros(len(logits), width))
        return _Routed(_gates(out, repeated.shape), seen[0] if seen else None)
    except (*REFUSALS, StopIteration):  # no such layer, or the router is more than a linear map and a rule
        return None


def _gates(out: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
    chosen = [o for o in out if not o.is_floating_point()]
    if not chosen:  # dense dispatch: gates of all experts, zero where not chosen
        return out[0].float().view(shape)
    weights = next(o for o in out if o.is_floating_point() and o.shape == chosen[0].shape)
    return torch.zeros(shape).scatter(1, chosen[0], weights.float())

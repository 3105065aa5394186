"""What ranks experts and their units, where it follows from the weights alone: norms, or chance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from growc.anatomy.sites import FfnSite, MoeSite, Units
from growc.audit.rows import count, row
from growc.audit.step import Step


def expert_scores(step: Step[Any], site: MoeSite, score: str, over: str) -> list[float]:
    """For every expert of a layer a number drawn in [0, 1), or the norm of its weights.

    Of all of them, of those into its units (fc1), of those back (fc2), or of both apart, each as a share of its sum
    over the layer, and these combined.
    """
    if score == "random":
        draw = random.Random(step.seed_of(f"{site.name}/score"))
        return [draw.random() for _ in range(site.num_experts)]
    assert score == "weight_norm", "what needs gradients is refused before"
    into = [unit.tensor for unit in site.units if not unit.down]
    fc1 = [name for name in site.expert_tensors if name in into]
    fc2 = [name for name in site.expert_tensors if name not in into]
    if over in ("all", "fc1", "fc2"):
        return _norms(step, site, {"all": site.expert_tensors, "fc1": fc1, "fc2": fc2}[over])
    pairs = zip(*(_shares(_norms(step, site, names)) for names in (fc1, fc2)), strict=True)
    match over:
        case "both_mean":
            return [(a + b) / 2 for a, b in pairs]
        case "both_product":
            return [a * b for a, b in pairs]
        case "both_max":
            return [max(pair) for pair in pairs]
        case _:
            return [min(pair) for pair in pairs]


def unit_scores(step: Step[Any], site: MoeSite, shared: Sequence[FfnSite], score: str) -> list[list[float]]:
    """For every expert of a layer, shared ones last, the same for each of its units, with the weights around it."""
    if score == "random":
        draw = random.Random(step.seed_of(f"{site.name}/units"))
        widths = [site.width] * site.num_experts + [ffn.width for ffn in shared]
        return [[draw.random() for _ in range(width)] for width in widths]
    assert score == "weight_norm", "what needs gradients is refused before"
    squares = [torch.zeros(site.width, dtype=torch.float64) for _ in range(site.num_experts)]
    for unit in site.units:
        for expert, total in enumerate(squares):
            total += _by_unit(row(step.source, unit.tensor, expert).wide.square(), unit)
    return [total.sqrt().tolist() for total in (*squares, *(_of_shared(step, ffn) for ffn in shared))]


def positions(unit: Units, width: int) -> Tensor:
    """Where the positions of every unit lie along the dimension of units: of shape (units, times)."""
    units, turns = torch.arange(width)[:, None], torch.arange(unit.times)[None, :]
    return units * unit.times + turns if unit.interleaved else turns * width + units


def _norms(step: Step[Any], site: MoeSite, names: Sequence[str]) -> list[float]:
    squares = [0.0] * site.num_experts
    for name in names:
        for expert in range(site.num_experts):
            squares[expert] += float(row(step.source, name, expert).wide.square().sum())
    return [square**0.5 for square in squares]


def _by_unit(values: Tensor, unit: Units) -> Tensor:
    """One number for each weight of an expert, summed over what belongs to each unit."""
    sums = values.movedim(unit.dim, 0).reshape(values.shape[unit.dim], -1).sum(dim=1)
    return sums[positions(unit, len(sums) // unit.times)].sum(dim=1)


def _of_shared(step: Step[Any], ffn: FfnSite) -> Tensor:
    total = torch.zeros(ffn.width, dtype=torch.float64)
    for name in (*(name for name in ffn.into if name in step.before.tensors), ffn.back):
        for number in range(count(step.before, name)):
            squares = row(step.source, name, number).wide.square()
            if name == ffn.back:
                total += squares
            else:
                total[number] += squares.sum()
    return total


def _shares(scores: Sequence[float]) -> list[float]:
    total = sum(scores) or 1.0
    return [score / total for score in scores]

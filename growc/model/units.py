"""The intermediate units of experts: which dimension of which tensor holds them, and in what order.

The dimension follows from the axes: the field that sets the number of units moves it. The order in a fused tensor is
found by running one expert of few units, with all of them closed but one: a unit whose way back to the residual
stream is zero gives no gradient to the positions that lead to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch.func import functional_call
from torch.fx.node import map_aggregate

from growc.anatomy.model_graph import Axis, Blocks
from growc.anatomy.sites import MoeSite, Units
from growc.diagnostics import GrowcError
from growc.model.axes import with_fields
from growc.model.build import REFUSALS, build_meta
from growc.model.layers import in_layer
from growc.model.trace import value, values

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

FEW = (4, 8, 16)
"""Numbers of units to probe with; the first that the family can be built with."""


def find(
    moe: tuple[MoeSite, ...], axes: tuple[Axis, ...], graph: fx.GraphModule, config: PreTrainedConfig, blocks: Blocks
) -> tuple[MoeSite, ...]:
    """The sites with their `units`; as they were where the units have no field of their own or cannot be probed.

    Args:
        moe: every site of the whole model.
        axes: of the whole model.
        graph: the trace of a model that has the first block of every kind.
        config: of that model.
        blocks: of the whole model.
    """
    first = {blocks.letters[site.layer]: site for site in reversed(moe)}
    found = {letter: _units(site, axes, graph, config) for letter, site in first.items()}
    return tuple(
        replace(
            site,
            units=tuple(
                replace(unit, tensor=in_layer(blocks.path, unit.tensor, site.layer))
                for unit in found[blocks.letters[site.layer]]
            ),
        )
        for site in moe
    )


def _units(site: MoeSite, axes: Iterable[Axis], graph: fx.GraphModule, config: PreTrainedConfig) -> tuple[Units, ...]:
    fields = [axis for axis in axes if _sets_units(axis, site)]
    if len(fields) != 1:
        return ()
    along = {d.tensor: (d.dim - 1, int(d.factor)) for d in fields[0].dims if d.tensor in site.expert_tensors}
    built = _narrow(config, fields[0].field)
    if built is None:
        return ()
    try:
        return _probed(_Probe(built[0], site, graph), along, built[1])
    except REFUSALS:  # the module needs more than its arguments and its parameters
        return ()


def _sets_units(axis: Axis, site: MoeSite) -> bool:
    """Whether a field moves inner dimensions of the experts alone: the width of the stream moves the router's too."""
    inner = [d for d in axis.dims if d.tensor in site.expert_tensors and d.dim > 0]
    router = any(d.tensor.rpartition(".")[0] == site.router for d in axis.dims)
    once = len({d.tensor for d in inner}) == len(inner)
    return bool(inner) and once and not router and all(d.factor == int(d.factor) >= 1 for d in inner)


def _narrow(config: PreTrainedConfig, field: str) -> tuple[PreTrainedModel, int] | None:
    """The model on the meta device with few units in every expert, and how many."""
    for few in FEW:
        try:
            return build_meta(with_fields(config, {field: few})), few
        except (GrowcError, *REFUSALS):
            continue
    return None


def _probed(probe: _Probe, along: Mapping[str, tuple[int, int]], few: int) -> tuple[Units, ...]:
    """The units of experts that have `few` of them, along (dimension, positions per unit) of each tensor."""
    if any(probe.weights[name].shape[dim] != times * few for name, (dim, times) in along.items()):
        return ()
    # One feature of the output depends on every unit, but on one row only of what maps units back.
    reached = probe.gradients(probe.weights)
    back = [name for name in along if not reached[name].all()]
    if len(back) != 1 or along[back[0]][1] != 1:
        return ()
    down = back[0]
    order: dict[str, bool] = {down: False}
    for name, (dim, times) in along.items():
        if name == down:
            continue
        owners = _owners(probe, name, dim, down, along[down][0], few)
        if owners == [u for _ in range(times) for u in range(few)]:
            order[name] = False
        elif owners == [u for u in range(few) for _ in range(times)]:
            order[name] = True
        else:
            return ()
    return tuple(Units(name, dim, times, order[name], name == down) for name, (dim, times) in along.items())


def _owners(probe: _Probe, name: str, dim: int, down: str, down_dim: int, few: int) -> list[int | None]:
    """The unit that every position of a tensor leads to: the one whose closing leaves it without a gradient."""
    owners: list[int | None] = [None] * probe.weights[name].shape[dim]
    for unit in range(few):
        closed = probe.weights[down].clone()
        closed.select(down_dim, unit).zero_()
        gradient = probe.gradients(probe.weights | {down: closed})[name]
        for position in range(len(owners)):
            if not gradient.select(dim, position).any():
                owners[position] = unit
    return owners


class _Probe:
    """The experts of one layer, reduced to the first of them with small positive weights, and one token to run.

    Positive, so that no activation cuts a gradient off; small, so that none is at its limit.
    """

    def __init__(self, model: PreTrainedModel, site: MoeSite, graph: fx.GraphModule) -> None:
        nodes = graph.graph.nodes
        node = next(n for n in nodes if n.op == "call_module" and n.target == site.experts)
        positions: int = next(value(n).shape[-1] for n in nodes if n.op == "placeholder")
        self.experts, self.site = model.get_submodule(site.experts), site
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> Tensor:
            return (0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)) / max(shape)

        def one_token(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            shape = (max(1, item.shape[0] // positions), *item.shape[1:]) if item.dim() else ()
            return drawn(*shape) if item.is_floating_point() else torch.zeros(shape, dtype=item.dtype)

        self.arguments: Any = map_aggregate(values((node.args, node.kwargs)), one_token)
        named = {f"{site.experts}.{name}": p.shape for name, p in self.experts.named_parameters()}
        self.weights = {n: drawn(*(shape[1:] if n in site.expert_tensors else shape)) for n, shape in named.items()}

    def gradients(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the first feature of the output."""
        leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        args, kwargs = self.arguments
        with torch.enable_grad():
            given = {
                n.removeprefix(f"{self.site.experts}."): w[None] if n in self.site.expert_tensors else w
                for n, w in leaves.items()
            }
            result = functional_call(self.experts, given, args, kwargs)
            found = torch.autograd.grad(result[..., 0].sum(), list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

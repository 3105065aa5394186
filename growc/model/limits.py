"""Sizes that no model can have, which transformers would accept or only trip over much later."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from growc.diagnostics import Diagnostic, GrowcError, fail

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SIZE = re.compile(r"(?:num|n)_\w+|\w+_(?:size|dim|rank|heads|layers|experts|window)")
"""Names of config fields that count or measure something."""

POSITIVE = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
"""Fields that must be at least one, under transformers' common names."""

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
CHOSEN = ("num_experts_per_tok", "moe_topk", "moe_k")
GROUPS = ("n_group",)

WIDTHS = ("hidden_size", "intermediate_size", "moe_intermediate_size")

MOST_LAYERS = 10_000
MOST_WIDTH = 2**20
MOST_EXPERTS = 100_000
MOST_OUTPUTS = 2**24
"""More than any model has; a config that asks for more could fill the memory before a tensor is missed."""


def check(config: PreTrainedConfig) -> None:
    """Refuse negative sizes, absent layers and a router that chooses more than there is (GROW203)."""
    fields: dict[str, Any] = config.to_dict()
    findings = [
        Diagnostic("GROW203", f"{name} is {size}", help="a size is a positive whole number")
        for name, size in fields.items()
        if isinstance(size, int) and size < 0 and SIZE.fullmatch(name)
    ]
    findings += [
        Diagnostic("GROW203", f"{name} is 0", help="a model needs at least one")
        for name in POSITIVE
        if fields.get(config.attribute_map.get(name, name)) == 0
    ]
    findings += [
        Diagnostic("GROW203", f"{name} is {fields[name]}", help=f"growc knows models of up to {most:,}")
        for names, most in ((("num_hidden_layers",), MOST_LAYERS), (EXPERTS, MOST_EXPERTS), (WIDTHS, MOST_WIDTH))
        for name in (config.attribute_map.get(name, name) for name in names)
        if isinstance(fields.get(name), int) and fields[name] > most
    ]
    experts, chosen, groups = (_first(fields, names) for names in (EXPERTS, CHOSEN, GROUPS))
    if experts and groups and groups > 0 and experts % groups:
        findings.append(
            Diagnostic(
                "GROW203",
                f"{experts} experts do not divide into {groups} routing groups",
                help="make the number of experts a multiple of n_group",
            )
        )
    if experts and chosen == 0:
        findings.append(Diagnostic("GROW203", "the router chooses 0 experts per token", help="choose at least one"))
    if experts is not None and chosen is not None and chosen > experts:
        findings.append(
            Diagnostic(
                "GROW203",
                f"the router chooses {chosen} experts per token, but there are {experts}",
                help=f"lower num_experts_per_tok to {experts} or less, or add experts",
            )
        )
    if findings:
        raise GrowcError(findings)


def check_outputs(projection: str, width: int) -> None:
    """Refuse an attention's projection whose outputs cannot be numbered (GROW203)."""
    if width > MOST_OUTPUTS:
        message = f"{projection} has {width:,} outputs, which the sizes of heads make"
        fail("GROW203", message, help=f"growc knows projections of up to {MOST_OUTPUTS:,}")


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((size for name in names if isinstance(size := fields.get(name), int)), None)

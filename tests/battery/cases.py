"""All cases of the battery: every operator's examples on every family that it takes, and drawn upcyclings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from growc.operators import OPERATORS
from growc.operators.claims import Preserves
from growc.operators.example import Example, examples
from growc.operators.experts import EXPERT_INITS
from growc.operators.routers import ROUTER_INITS
from tests.battery.case import Case
from tests.families import FAMILIES, MOE_FAMILIES
from tests.operators_cases import BIASED_ROUTERS, EXPLICIT, FIXED_TOP_K

DENSE_FAMILIES = tuple(family for family in FAMILIES if family not in MOE_FAMILIES)

SCALE, NOISE = "scaled top-k", "bias noise"

PREFIXED = ("deepseek_v3", "deepseek_v3_groups", "glm4_moe")
"""The families that count their leading dense layers."""

LATENT = ("deepseek_v3", "deepseek_v3_groups")
"""The families whose heads are made of latents."""

REFUSED: dict[tuple[str, str, str], str] = {
    **{("bam", name, "gpt2"): "GROW395" for name in examples("bam")},  # one projection for queries, keys and values
    **{("grove", name, "llama4_text"): "GROW362" for name in examples("grove")},  # gates are no weights of a sum
    **{("router_upcycling", "in a mixture", f): "GROW370" for f in LATENT},  # no heads
    **{("stack", "a mixture, three times", f): "GROW396" for f in PREFIXED},  # a count of leading dense layers
    **{
        ("hypercloning", n, f): "GROW398" for n in examples("hypercloning") for f in LATENT if "mixture" in n
    },  # no heads
    ("widen", "the units", "gpt2"): "GROW398",  # called otherwise
    **{("widen", name, f): "GROW398" for name in ("query heads, unevenly", "all heads") for f in LATENT},
    ("widen", "the stream, unevenly", "olmoe"): "GROW398",  # a norm that is as long as the stream goes over the heads
    ("widen", "query heads, unevenly", "olmoe"): "GROW399",  # a norm goes over all heads
    **{("widen", name, "phimoe"): "GROW399" for name in ("query heads, unevenly", "the stream, unevenly")},  # centred
    ("expert_upcycling", SCALE, "phimoe"): "GROW322",  # always two experts, whatever the config says
}
"""Operator, example and family -> the code with which the operator refuses it; all others are cases."""

STARTS = (
    *(f"experts.{name}" for name in EXPERT_INITS),
    *(f"router.{name}" for name in ROUTER_INITS),
    NOISE,
    SCALE,
)
AXES: dict[str, tuple[str, ...]] = {
    "family": MOE_FAMILIES,
    "start": STARTS,
    "routing": ("exclusive", "free"),
    "allocation": ("uniform", "explicit", "greedy", "proportional"),
    "factor": ("2", "3"),
}
"""What settings of expert upcycling are drawn from."""

NEAR = {
    *(f"experts.{name}" for name in ("copy_noise", "scaled_copy", "svd_perturb")),
    *(f"router.{name}" for name in ROUTER_INITS if name not in ("interpolate", "orthogonal")),
}
"""Starts after which the model should compute almost what its source does; after `EXACT` ones, just that."""
EXACT = {"experts.copy", "experts.shuffle", "router.copy", "router.bias_only", NOISE, SCALE}


def possible(pair: dict[str, str]) -> bool:
    """Whether values of some axes can go together."""
    match pair:
        case {"start": "router.bias_only" | "bias noise", "family": family} if family not in BIASED_ROUTERS:
            return False  # there is no bias to put noise on
        case {"start": "scaled top-k", "family": family} if family in FIXED_TOP_K:
            return False  # always as many experts, whatever the config says
        case {"start": "scaled top-k", "routing": "exclusive"}:
            return False  # exclusive routing chooses one of all siblings
        case {"start": "scaled top-k", "allocation": allocation} if allocation != "uniform":
            return False  # every expert needs as many copies
        case _:
            return True


def _drawn() -> Iterator[Case]:
    """Every start on every family once, the other axes rotated through."""
    for s, start in enumerate(STARTS):
        families = [family for family in MOE_FAMILIES if possible({"start": start, "family": family})]
        for f, family in enumerate(families):
            values = {"family": family, "start": start}
            for name, number in (("routing", f + s // 4), ("allocation", f + s), ("factor", f // 2 + s)):
                choices = [value for value in AXES[name] if possible({"start": start, name: value})]
                values[name] = choices[number % len(choices)]
            yield upcycling(values)


def upcycling(values: dict[str, str]) -> Case:
    """The case that has one value of every axis."""
    start, factor, free = values["start"], int(values["factor"]), values["routing"] == "free"
    rules = {"uniform": {"rule": "uniform"}, "explicit": {"rule": "explicit", "replicas": EXPLICIT[factor]}}
    rules |= {"greedy": {"rule": "greedy", "cap": 3}, "proportional": {"rule": "proportional"}}
    settings: dict[str, Any] = {
        "factor": factor,
        "routing": values["routing"],
        "allocation": rules[values["allocation"]],
        "router": {"init": "copy"},
    }
    kind, _, name = start.partition(".")
    if start == NOISE:
        settings["router"] = {"init": "copy", "bias_noise": 1e-3}
    elif start == SCALE:
        settings["top_k"] = "scale"
    else:
        settings[kind] = {"init": name, **{"experts": EXPERT_INITS, "router": ROUTER_INITS}[kind][name].example}
    claim = Preserves.EXACTLY if start in EXACT else Preserves.NEARLY if start in NEAR else Preserves.NOT
    if free and start != SCALE:
        claim = claim.worst(Preserves.NEARLY)
    name = "-".join(value for axis, value in values.items() if axis != "family")
    return Case("expert_upcycling", values["family"], name, Example(settings, claim), values)


def _listed() -> Iterator[Case]:
    for op in OPERATORS:
        for name, example in examples(op).items():
            for family in _families(example):
                yield Case(op, family, name, example)


def _families(example: Example) -> tuple[str, ...]:
    return MOE_FAMILIES if example.source == "mixture" else DENSE_FAMILIES


def _in_turn(case: Case) -> bool:
    """Whether CI runs the case: of an operator's examples on like sources, every family has every second, in turn."""
    alike = [
        name
        for name, example in examples(case.op).items()
        if example.source == case.example.source and (case.op, name, case.family) not in REFUSED
    ]
    if case.axes or len(alike) == 1:
        return True
    return (alike.index(case.name) + _families(case.example).index(case.family)) % 2 == 0


def product_of_axes() -> Iterator[Case]:
    """Every possible upcycling, for `make full`."""
    for values in product(*AXES.values()):
        drawn = dict(zip(AXES, values, strict=True))
        if possible(drawn):
            yield upcycling(drawn)


def _refused(case: Case) -> bool:
    return (case.op, case.name, case.family) in REFUSED


_ALL = sorted((*_listed(), *_drawn()), key=lambda case: list(FAMILIES).index(case.family))
CASES = tuple(case for case in _ALL if not _refused(case) and _in_turn(case))
"""Those of one family in a row, so that a worker traces few models."""
OTHER_CASES = tuple(case for case in _ALL if not _refused(case) and not _in_turn(case))
"""For `make full`."""
REFUSED_CASES = tuple(case for case in _ALL if _refused(case))

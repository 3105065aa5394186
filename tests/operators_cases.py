"""For every operator of the table, the settings that the battery runs it with: the YAML beside `op`."""

from __future__ import annotations

from itertools import product
from typing import Any

EXACT: dict[str, Any] = {"routing": "exclusive", "router": {"init": "copy"}}
"""The settings of expert upcycling with which a grown model computes what its source did."""

EXPLICIT: dict[int, list[int]] = {2: [4, 1, 2, 1, 1, 3, 3, 1], 3: [6, 1, 2, 3, 5, 4, 2, 1]}
"""Uneven replicas of eight experts by factor; each half adds up too, for families with two routing groups."""

MEASURED: dict[int, dict[str, Any]] = {2: {"rule": "greedy", "cap": 3}, 3: {"rule": "proportional"}}


def _expert_upcycling() -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {}
    for factor, routing in product((2, 3), ("exclusive", "free")):
        base = {"factor": factor, **EXACT, "routing": routing}
        explicit = {"allocation": {"rule": "explicit", "replicas": EXPLICIT[factor]}}
        name = f"{routing}-{factor}"
        cases[f"{name}-uniform"] = base
        cases[f"{name}-explicit"] = base | explicit
        cases[f"{name}-measured"] = base | {"allocation": MEASURED[factor]}
        cases[f"{name}-split"] = base | explicit | {"router": {"init": "split"}}
        if routing == "free":
            cases[f"{name}-scale"] = base | {"top_k": "scale"}
        cases[f"{name}-noise"] = base | explicit | {"router": {"init": "copy", "bias_noise": 1e-3}}
    cases["exclusive-2-layer"] = {**EXACT, "layers": [1]}
    cases["free-2-layer"] = {**EXACT, "layers": [1], "routing": "free"}
    return cases


INITIALISATIONS: dict[str, dict[str, Any]] = {
    "experts.copy": {},
    "experts.copy_noise": {},
    "experts.scaled_copy": {},
    "experts.shuffle": {},
    "experts.drop": {},
    "experts.interpolate": {"own": 0.8},
    "experts.orthogonal": {},
    "experts.svd_perturb": {},
    "experts.svd_mix": {},
    "experts.sparse_code_mix": {"dictionary": 48, "iterations": 20},
    "experts.random": {},
    "routers.copy": {},
    "routers.copy_noise": {},
    "routers.interpolate": {},
    "routers.bias_only": {},
    "routers.scaled_copy": {},
    "routers.temperature": {},
    "routers.perturb_new_only": {},
    "routers.orthogonal": {},
    "routers.adversarial": {},
    "routers.svd_perturb": {},
    "routers.split": {},
}
"""For every initialisation the settings that the battery runs it with, beside `init`."""

_ALLOCATIONS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "explicit": {"allocation": {"rule": "explicit", "replicas": EXPLICIT[2]}},
    "measured": {"allocation": MEASURED[2]},
}

COMBINATIONS = (
    ("exclusive", "uniform"),
    ("free", "explicit"),
    ("exclusive", "measured"),
    ("free", "uniform"),
    ("exclusive", "explicit"),
    ("free", "measured"),
)
"""Routing and allocation: the ways in which every initialisation is run; any three in a row have all of both."""


def _initialisations() -> dict[str, dict[str, Any]]:
    return {
        f"{routing}-2-{allocation}-{name}": {
            **EXACT,
            "routing": routing,
            **_ALLOCATIONS[allocation],
            name.partition(".")[0].replace("routers", "router"): {"init": name.partition(".")[2], **settings},
        }
        for name, settings in INITIALISATIONS.items()
        for routing, allocation in COMBINATIONS
    }


def initialisation_of(case: str) -> str | None:
    """The initialisation that a case is about, such as `experts.drop`."""
    name = case.rpartition("-")[2]
    return name if name in INITIALISATIONS else None


CASES: dict[str, dict[str, dict[str, Any]]] = {
    "expert_upcycling": _expert_upcycling() | _initialisations(),
    "expert_pruning": {
        "kept-explicit": {"choose": {"by": "explicit", "kept": [1, 2, 5, 6]}},
        "kept-measured": {"keep": 6},
        "kept-measured-layer": {"drop": 4, "choose": {"by": "score"}, "layers": [1]},
    },
    "expert_slimming": {
        "slim-measured": {"share": 0.5},
        "slim-measured-layer": {"share": 0.25, "choose": {"score": "weight_norm"}, "layers": [1]},
    },
    "merge_duplicates": {"siblings": {}, "siblings-copy": {"optimizer_state": "copy"}},
}

OWN_BATTERIES = ("model_soup", "bam", "branch_train_mix", "symphony", "nexus", "nexus_extension")
"""Operators whose sources are no single model with experts: each has a battery of its own in `tests/operators`."""

_UNEVEN: dict[str, Any] = {**EXACT, "allocation": {"rule": "explicit", "replicas": EXPLICIT[2]}}

BEFORE: dict[str, dict[str, Any]] = {"merge_duplicates": _UNEVEN}
"""Operator -> the expert upcycling by which its source was grown, for those that need siblings."""

INITIALISED = ("mixtral", "qwen3_moe", "deepseek_v3_groups", "glm4_moe")
"""The families on which every initialisation is run."""

OTHER_UNITS = ("gpt_oss", "llama4_text")
"""Those that hold the units of their experts otherwise: transposed, interleaved, with biases."""

EXCLUSIVE = _UNEVEN
AFTER_EXCLUSIVE: dict[str, dict[str, dict[str, Any]]] = {
    "release_siblings": {"at-once": {}, "annealed": {"over": 0.5}},
}
"""Operators for models that were grown: their settings, for a source of the battery grown by `EXCLUSIVE`."""

BIASED_ROUTERS = ("deepseek_v3", "deepseek_v3_groups", "glm4_moe", "gpt_oss")
"""The families whose router has a bias, so that noise can be put on it."""

FIXED_TOP_K = ("phimoe",)
"""The families that always choose the same number of experts, whatever their config says."""

GROUPED = ("deepseek_v3_groups",)
"""The families that choose among groups first, by the sum of the best two of a group."""

FROM_DENSE: dict[str, dict[str, dict[str, Any]]] = {
    "sparse_upcycling": {
        "plain": {"experts": 4},
        "alternate": {"experts": 4, "layers": "alternate", "optimizer_state": "gradient"},
        "softmax": {"experts": 4, "gates": "softmax"},
    },
    "router_upcycling": {
        "mean": {"experts": 4},
        "apart": {"experts": 8, "combine": "per_router_keys", "optimizer_state": "reset_new"},
        "sum": {"experts": 4, "combine": "sum_logits", "layers": "alternate", "optimizer_state": "gradient"},
        "token": {"experts": 4, "keys": "token"},
        "token-sum": {"experts": 4, "keys": "token", "combine": "sum_logits", "gates": "softmax"},
        "calibrated": {"experts": 4, "keys": "calibrated"},
        "calibrated-apart": {"experts": 4, "keys": "calibrated", "combine": "per_router_keys"},
    },
    "drop_upcycling": {
        "shared": {"experts": 4},
        "apart": {"experts": 4, "shared": False, "ratio": 0.25, "optimizer_state": "reset_new"},
    },
    "noise_upcycling": {"half": {"experts": 4}},
    "virtual_group_upcycling": {
        "exact": {"experts": 8, "granularity": 4, "top_k": 4, "optimizer_state": "gradient"},
        "two-groups": {"experts": 8, "granularity": 2, "top_k": 4},
        "softmax": {"experts": 8, "granularity": 2, "top_k": 2, "gates": "softmax"},
        "paper": {"experts": 8, "granularity": 2, "top_k": 2, "scaling": "paper", "gates": "softmax"},
    },
}
"""Operators that make experts of dense networks, with their settings."""

SHARING: dict[str, dict[str, dict[str, Any]]] = {
    "grove": {
        "plain": {"width": 8},
        "wide": {"width": 16, "group_size": 4, "scale": 0.2, "std": 0.1},
        "layer": {"width": 8, "layers": [1]},
    },
    "ders": {
        "plain": {"experts": 4, "optimizer_state": "reset_new"},
        "low_rank": {"experts": 4, "deltas": {"form": "low_rank", "rank": 2}},
        "alternate": {"experts": 4, "layers": "alternate", "deltas": {"form": "sparse", "every": 100}},
        "softmax": {"experts": 4, "gates": "softmax"},
    },
}
"""Operators after which experts share weights, with their settings."""

"""Layers that predict further tokens (multi-token prediction), which lie beside a model's own in its folder.

transformers builds no such layer with the language model, so they are no part of what is traced, trained and grown.
Their tensors have numbers from `num_hidden_layers` on (DeepSeek-V3, GLM-4.5), or a part of their names that says so
(`mtp.layers.0` of Qwen3.5); a config counts them under one of several keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from growc.anatomy.grown_format import GROWN

NUMBERED = re.compile(r"(?:^|\.)layers\.(\d{1,6})\.")
"""The number of a layer; what stands before are the modules that it is in."""
NAMED = re.compile(r"(?:^|\.)(?:mtp|nextn)(?:_\w+)?\.")
COUNT = re.compile(r"(?=.*(?:^|_)(?:mtp|nextn)(?:_|$))(?:num_|n_|.*_num_|.*_n_).*")
"""A key that counts them, as `num_nextn_predict_layers`, `mtp_num_hidden_layers` or `num_mtp_modules`."""
SWITCH = "use_mtp"
EXPERT = re.compile(r"(?:^|[._])experts?(?:[._]|$)")


def promised(config: Mapping[str, Any]) -> dict[str, int]:
    """The keys of a config that promise such layers, with their number; `use_mtp` counts as one."""
    found = {key: value for key, value in config.items() if type(value) is int and value > 0 and COUNT.fullmatch(key)}
    return found | ({SWITCH: 1} if config.get(SWITCH) is True else {})


def without_promise(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config that promises none."""
    kept = dict(config) | dict.fromkeys(promised(config), 0)
    return kept | {SWITCH: False} if SWITCH in promised(config) else kept


def predicts(name: str, layers: int, further: int) -> bool:
    """Whether a tensor on disk belongs to such a layer.

    Args:
        name: of the tensor.
        layers: of the language model.
        further: how many layers there may be beyond these.
    """
    number = NUMBERED.search(name)
    return bool(NAMED.search(name)) or (number is not None and layers <= int(number[1]) < layers + further)


def stay_valid(names: Iterable[str], before: Mapping[str, Any], after: Mapping[str, Any], counts: set[str]) -> bool:
    """Whether a growth leaves such layers as their readers expect them: they are built from the fields of the config.

    Args:
        names: of their tensors.
        before: the canonical config of the source.
        after: that of the grown model.
        counts: the fields that say how many experts there are, and how many of them are active.
    """
    configs = [{**config, "model_type": config.get(GROWN, config)["model_type"]} for config in (before, after)]
    changed = {key for key in configs[0].keys() | configs[1].keys() if key != GROWN and _differ(key, *configs)}
    return not changed or (changed <= counts and not any(map(EXPERT.search, names)))


def _differ(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return key not in before or key not in after or before[key] != after[key]

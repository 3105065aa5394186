"""Tensors in a folder that are none of the language model's: what they are, by their names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from growc.model.build import canonical
from growc.model.prediction import NUMBERED, predicts, promised

ALWAYS_DROPPED = (r"rotary_emb\.inv_freq$", r"(^|\.)position_ids$")
"""Patterns of buffers in old checkpoints that transformers ignores in every family: they follow from the config."""


@dataclass(frozen=True)
class Rest:
    """Names on disk: of other parts of the whole model, as towers; of layers that predict further tokens; of what
    transformers ignores when it loads the family; and of what has no place anywhere.
    """

    parts: tuple[str, ...] = ()
    prediction: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()


def sort_out(
    unknown: Iterable[str], model: PreTrainedModel, config: Mapping[str, Any], parts: Iterable[str] = ()
) -> Rest:
    """What tensors are that the language model has no place for.

    Args:
        unknown: their names on disk.
        model: the language model, on the meta device.
        config: of the folder, as it was read.
        parts: names of tensors that the whole model has a place for, of which the language model is a part.
    """
    left = list(unknown)
    layers = model.config.num_hidden_layers
    further = max([*promised(canonical(model.config)).values(), *promised(config).values()], default=0)
    ignored = {name for name in left if any(re.search(pattern, name) for pattern in _ignored(model))}
    prediction = {n for n in left if predicts(n, layers, further) or (n in ignored and _beyond(n, layers))}
    return Rest(
        tuple(sorted(parts)),
        tuple(name for name in left if name in prediction),
        tuple(name for name in left if name in ignored - prediction),
        tuple(name for name in left if name not in ignored | prediction),
    )


def _beyond(name: str, layers: int) -> bool:
    number = NUMBERED.search(name)
    return number is not None and int(number[1]) >= layers


def _ignored(model: PreTrainedModel) -> set[str]:
    """Patterns of tensors on disk that transformers leaves out when it loads this family."""
    patterns = model._keys_to_ignore_on_load_unexpected  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return {*ALWAYS_DROPPED, *(patterns or ())}

"""Models of which the language model is a part, beside towers for pictures or sound: configs with a `text_config`.

Growth is that of the language model; the rest of the folder stays as it is around it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
)

from growc.anatomy.grown_format import GROWN
from growc.diagnostics import GrowcError
from growc.files.strict import decoded
from growc.model.build import NOT_CARRIED, REFUSALS, load_config

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

TEXT = "text_config"

FOR_ALL = ("dtype", "torch_dtype", "transformers_version")
"""Keys that a whole model's config may have for all of its parts."""

OF_FILE = ("architectures", "transformers_version")
"""Keys that say something of a whole file, which its sections need not repeat."""

CLASSES = (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, MODEL_FOR_MULTIMODAL_LM_MAPPING)
"""What knows the class of a whole model by that of its config, the first one first."""


def is_whole(config: Mapping[str, Any]) -> bool:
    """Whether a config is that of a whole model, of which growc takes the language model."""
    model_type = config["model_type"]
    return model_type != GROWN and type(load_config(config)) is not CONFIG_MAPPING[model_type]


def text_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the language model in the words of the file, whether it is a part of that or all of it."""
    if not is_whole(config):
        return dict(config)
    return {**(config.get(TEXT) or {}), "model_type": load_config(config).model_type}


def text_alone(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the language model in the words of the file, with what the whole model's says for all parts."""
    return {key: config[key] for key in FOR_ALL if key in config} | text_of(config)


def takes(config: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    """Whether the class of a whole model takes a language model of this config: some take their own type only."""
    if text["model_type"] == GROWN:
        return False
    try:
        return type(load_config(with_text(config, text))) is CONFIG_MAPPING[text["model_type"]]
    except GrowcError:
        return False


def with_text(config: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a whole model with another language model; what it repeats of that is repeated of the new one."""
    before = text_of(config)
    text = {key: value for key, value in text.items() if key not in OF_FILE or key in before}
    repeated = [key for key in before if key in config and key in text and config[key] == before[key] != text[key]]
    return {**config, **{key: text[key] for key in repeated}, TEXT: dict(text)}


def _parts(config_class: type[PreTrainedConfig]) -> Mapping[str, type[PreTrainedConfig]]:
    return cast(Any, config_class).sub_configs


def other_parts(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The sections of a whole model's config that describe what is no language model."""
    sections = _parts(CONFIG_MAPPING[config["model_type"]])
    return tuple(sorted(name for name in sections if name != TEXT and config.get(name) is not None))


def whole_model(config: Mapping[str, Any]) -> PreTrainedModel | None:
    """The whole model on the meta device; None where transformers has no class for it, or the class refuses it."""
    found = CONFIG_MAPPING[config["model_type"]]
    model = next((cast(Any, classes[found]) for classes in CLASSES if found in classes), None)
    given = {key: decoded(copy.deepcopy(value)) for key, value in config.items() if key not in NOT_CARRIED}
    try:
        with torch.device("meta"):
            return model and model._from_config(found.from_dict(given), dtype=torch.float32)  # noqa: SLF001
    except REFUSALS:
        return None


def names_in(whole: PreTrainedModel, language: PreTrainedModel) -> dict[str, str] | None:
    """The names that the tensors of a language model have in the whole, by their own; None if it is no part of that.

    Args:
        whole: the whole model.
        language: the language model; either of them, or what it has below its head, is a module of the whole.
    """
    known, wanted = whole.state_dict(), language.state_dict()
    below = getattr(language, language.base_model_prefix, language)
    for path, module in whole.named_modules():
        if type(module) is type(language):
            found = {name: f"{path}.{name}" for name in wanted}
        elif type(module) is type(below):
            inside = f"{language.base_model_prefix}."
            found = {n: f"{path}.{n.removeprefix(inside)}" if n.startswith(inside) else n for n in wanted}
        else:
            continue
        if all(found[name] in known and known[found[name]].shape == tensor.shape for name, tensor in wanted.items()):
            return found
    return None

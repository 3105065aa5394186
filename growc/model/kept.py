"""What is found of a config, kept between calls by the config and by the versions of all that finds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from growc.anatomy.grown_format import GROWN
from growc.files import cache
from growc.files.versions import versions
from growc.model.build import load_config
from growc.model.module import has_run

T = TypeVar("T")


def keep(
    kind: str, config: Mapping[str, Any], how: Mapping[str, Any], type_: TypeAdapter[T], find: Callable[[], T]
) -> T:
    """What `find` finds of a config, or what it found before.

    Where code of the user's own may have a part in it, it is found anew: no version tells how that has changed.

    Args:
        kind: the folder of the entries.
        config: a Hugging Face config mapping.
        how: what else decides the result.
        type_: writes and reads results as JSON values.
        find: looks; what it raises is not kept.
    """
    if has_run() or not _is_stock(config):
        return find()
    key = {"config": config, **how, **versions()}
    if (entry := cache.load(kind, key)) is not None:
        return type_.validate_python(entry.value)
    found = find()
    written = json.dumps(type_.dump_python(found))  # infinities of configs too, which pydantic's JSON has no word for
    read = type_.validate_python(json.loads(written))
    if read == found and json.dumps(type_.dump_python(read)) == written:  # 2 and 2.0 are equal, and print differently
        cache.store(kind, key, json.loads(written))
    return found


def _is_stock(config: Mapping[str, Any]) -> bool:
    """Whether the classes of a model, or of what it has grown from, are those of transformers."""
    loaded = type(load_config(config))
    before = config[GROWN]["model_type"] if config["model_type"] == GROWN else config["model_type"]
    classes = CONFIG_MAPPING[before], cast(type, MODEL_FOR_CAUSAL_LM_MAPPING[loaded])
    return all(each.__module__.partition(".")[0] == "transformers" for each in classes)

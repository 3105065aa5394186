"""What is found of a config, kept between calls by the config and by the versions of all that finds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter

from growc.files import cache
from growc.files.versions import versions
from growc.model.build import load_config

T = TypeVar("T")
OURS = ("transformers", "growc")


def keep(
    kind: str, config: Mapping[str, Any], how: Mapping[str, Any], type_: TypeAdapter[T], find: Callable[[], T]
) -> T:
    """What `find` finds of a config, or what it found before.

    A model whose code is the user's own is always looked at again: no version tells how it has changed.

    Args:
        kind: the folder of the entries.
        config: a Hugging Face config mapping.
        how: what else decides the result.
        type_: writes and reads results as JSON values.
        find: looks; what it raises is not kept.
    """
    if type(load_config(config)).__module__.partition(".")[0] not in OURS:
        return find()
    key = {"config": config, **how, **versions()}
    if (entry := cache.load(kind, key)) is not None:
        return type_.validate_python(entry.value)
    found = find()
    written = json.dumps(type_.dump_python(found))  # infinities of configs too, which pydantic's JSON has no word for
    if type_.validate_python(json.loads(written)) == found:
        cache.store(kind, key, json.loads(written))
    return found

"""The config.json of a grown model in the words of its source's.

transformers renames keys of configs (`rope_theta` and `rope_scaling` became `rope_parameters`, `torch_dtype` became
`dtype`), gives some fields further names (`num_experts` for `num_local_experts`), and leaves out what is a default. A
reader that knows only the source's words would miss them and compute with defaults of its own. So every key of the
source's config stays, with its value if growth did not change what it says and with the new one if it did, and beside
it stands what transformers writes.

No key is known by name for what it means: what it sets is seen by reading the source's config without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from growc.anatomy.grown_format import GROWN
from growc.diagnostics import GrowcError
from growc.files.strict import encoded
from growc.model.build import canonical, load_config

OWN = frozenset({"model_type", "architectures", "dtype", "torch_dtype", GROWN})
"""Keys that are written for the grown model, whatever the source's config says."""

CLASSES = ("AutoConfig", "AutoModel")
"""How the names of those entries of an `auto_map` begin that say which code a model is."""

Values = dict[str, Any]


def spelled(given: Mapping[str, Any], written: Values) -> Values:
    """The config of a grown model with every key that its source's config has.

    Args:
        given: the source's config as it was read.
        written: the grown model's config as transformers writes it.
    """
    before, after = canonical(load_config(given)), canonical(load_config(written))
    aliases = load_config(written).attribute_map
    kept: Values = {}
    for key, value in given.items():
        if key == "auto_map":
            kept |= _code(value, same_class=given["model_type"] == written["model_type"])
        elif (name := aliases.get(key, key)) in after:
            kept[key] = _updated(value, before.get(name), after[name])
        elif key not in OWN:
            kept |= _renamed(given, key, before, after)
    if "torch_dtype" in given:
        kept["torch_dtype"] = written.get("dtype")
    kept = {key: value for key, value in kept.items() if key not in OWN or key == "torch_dtype"}
    return written | (kept if _reads_as(written | kept, after) else _harmless(written, kept, after))


def _updated(value: Any, before: Any, after: Any) -> Any:
    """The value of the source's config, if growth left what it says as it was; parts of mappings each by themselves."""
    if before == after:
        return value
    if not all(isinstance(each, dict) for each in (value, before, after)):
        return encoded(after)
    kept = {key: _updated(part, before.get(key), after[key]) for key, part in value.items() if key in after}
    return encoded(after) | kept


def _renamed(given: Mapping[str, Any], key: str, before: Values, after: Values) -> Values:
    """A key that transformers stores under other names, or not at all, with its value as it is after growth.

    It is left out where it cannot be told what the grown model's would be.
    """
    changed = [name for name in _sets(given, key, before) if name in after and after[name] != before[name]]
    if not changed:
        return {key: given[key]}
    if all(before[name] == given[key] for name in changed) and all(after[n] == after[changed[0]] for n in changed):
        return {key: encoded(after[changed[0]])}
    return {}


def _sets(given: Mapping[str, Any], key: str, before: Values) -> set[str]:
    """The fields of the source's config that a key sets, seen by leaving it out, or by another number in its place."""
    others = [{name: value for name, value in given.items() if name != key}]
    if type(given[key]) in (int, float):
        others.append({**given, key: given[key] + 1})
    found: set[str] = set()
    for other in others:
        try:
            read = canonical(load_config(other))
        except GrowcError:  # it cannot be read so, which says nothing of what the key sets
            continue
        found |= {name for name in before if name not in read or read[name] != before[name]}
    return found - {key}


def _code(auto_map: Any, *, same_class: bool) -> Values:
    """The `auto_map` of a source, without code of its model where growth made a model of another class."""
    if same_class or not isinstance(auto_map, dict):
        return {"auto_map": auto_map}
    left = {name: code for name, code in auto_map.items() if not str(name).startswith(CLASSES)}
    return {"auto_map": left} if left else {}


def _reads_as(values: Values, after: Values) -> bool:
    """Whether a config is that of the grown model, up to keys that its class does not know."""
    try:
        read = canonical(load_config(values))
    except GrowcError:
        return False
    return all(name in read and read[name] == value for name, value in after.items())


def _harmless(written: Values, kept: Values, after: Values) -> Values:
    """Those of the source's keys with which the config is still read as that of the grown model."""
    found: Values = {}
    for key in sorted(kept):
        more = {**found, key: kept[key]}
        if _reads_as(written | more, after):
            found = more
    return found

"""Where a spec's model comes from: a hub name, a folder, a config, or code, all resolved to one config
mapping.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from growc.diagnostics import Diagnostic, GrowcError, fail
from growc.files.beside import CONFIG
from growc.files.folder import read_folder
from growc.files.paths import located
from growc.files.strict import depth, parse, read_bytes
from growc.model import hub
from growc.model.build import canonical, load_config
from growc.model.module import build_module
from growc.spec.schema import Model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ADAPTER = "adapter_config.json"

DEEPEST = 100
"""How deep a config may be nested: what copies and writes it gives up at some depth, without a word on the file."""


@dataclass(frozen=True)
class ModelSource:
    """A resolved source.

    `config` is a Hugging Face config mapping. `weights` is the folder that holds them; None where they come
    from the seed (`config`), from code (`module`, see `build_module`), or are not fetched yet (`hub`, see
    `fetch`). `digest` names config and weights without reading the payload. `origin` is what a user calls the
    source, and `revision` the commit of a hub model.
    """

    kind: Literal["hub", "path", "config", "module"]
    config: Mapping[str, Any]
    weights: Path | None
    digest: str
    origin: str
    revision: str | None = None

    @property
    def drawn(self) -> bool:
        """Whether the weights are drawn from a seed."""
        return self.kind in ("config", "module")


def resolve(model: Model, base_dir: Path, *, allow_code: bool = False) -> ModelSource:
    """Resolve a spec's `model`; paths are relative to `base_dir`, the folder of the spec.

    Errors: GROW201-203 (the config), GROW205-209 and 212 (files), GROW210 (hub), GROW211 (module), GROW213 (a
    misspelt key of an inline config).
    """
    match model.source:
        case "config":
            return _from_config(model.config, base_dir)
        case "path":
            return from_folder(located(base_dir, str(model.path)))
        case "hub":
            return _from_hub(str(model.hub), model.revision)
        case "module":
            config = canonical(build_module(str(model.module), base_dir, allow_code=allow_code).config)
            return ModelSource("module", config, None, _digest(config, str(model.module)), str(model.module))


def fetch(source: ModelSource) -> ModelSource:
    """The source with its weights on this machine: those of a hub model are downloaded, unless the cache has
    them.

    Errors: GROW206-210, GROW212.
    """
    if source.kind != "hub" or source.weights is not None:
        return source
    folder = hub.download(source.origin, source.revision)
    _refuse_quantized(source.config, folder)
    read_folder(folder)
    return dataclasses.replace(source, weights=folder)


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in a config file (GROW205)."""
    try:
        config: Any = parse(read_bytes(path))
    except OSError as error:
        fail("GROW205", f"{path} cannot be read: {error.strerror}", help="paths in a spec are relative to it")
    except ValueError as error:
        fail("GROW205", f"{path} is not valid JSON: {error}", help="a config is one JSON object")
    if depth(config) > DEEPEST:
        fail("GROW205", f"{path} is nested more than {DEEPEST} deep", help="a config is a mapping of plain values")
    if not isinstance(config, dict):
        fail("GROW205", f"{path} holds no JSON object", help="a config is a mapping with a model_type")
    return config


@contextmanager
def named(path: Path) -> Generator[None]:
    """Names the config file in diagnostics about its values, which transformers often tells without the key."""
    try:
        yield
    except GrowcError as error:
        found = error.diagnostics
        raise GrowcError(
            d if str(path) in d.message else replace(d, message=f"{path}: {d.message}") for d in found
        ) from None


def _from_config(given: dict[str, Any] | str | None, base_dir: Path) -> ModelSource:
    if isinstance(given, str):
        path = located(base_dir, given)
        config = read_config(path)
        with named(path):
            load_config(config)
        return ModelSource("config", config, None, _digest(config), str(path))
    config = dict(given or {})
    _refuse_misspelt(config, load_config(config))
    return ModelSource("config", config, None, _digest(config), "inline config")


def _refuse_misspelt(given: Mapping[str, Any], built: PreTrainedConfig) -> None:
    """Refuse unknown keys that are nearly a known one, and very nearly if that is given too: typos by hand."""
    known = {field.name for field in dataclasses.fields(type(built))} | built.attribute_map.keys()
    meant = {key: difflib.get_close_matches(key, known, 1, 0.8) for key in given.keys() - known}
    findings = [
        Diagnostic("GROW213", f"{built.model_type} has no config key {key!r}", help=f"did you mean {near[0]}?")
        for key, near in sorted(meant.items())
        if near and (near[0] not in given or difflib.SequenceMatcher(None, key, near[0]).ratio() > 0.9)
    ]
    if findings:
        raise GrowcError(findings)


def _safetensors(folder: Path) -> list[tuple[str, int, str]]:
    return read_folder(folder).fingerprint()


def from_folder(folder: Path, fingerprint: Callable[[Path], list[tuple[str, int, str]]] = _safetensors) -> ModelSource:
    """The model in a folder.

    Args:
        folder: with `config.json` and weights.
        fingerprint: checks that the weights fit together, and tells names, sizes and digests of their files.

    Errors: GROW201-203, GROW205, GROW212, GROW215, and those of `fingerprint` (GROW206-209).
    """
    if not folder.is_dir():
        fail("GROW205", f"{folder} is not a folder", help="`path` is relative to the spec")
    config = read_config(folder / CONFIG)
    with named(folder / CONFIG):
        load_config(config)
    _refuse_quantized(config, folder)
    if os.path.lexists(folder / ADAPTER):
        help = "merge it into the model with `merge_and_unload` of peft"
        fail("GROW215", f"{folder} holds an adapter, going by its {ADAPTER}", help=help)
    return ModelSource("path", config, folder, _digest(config, fingerprint(folder)), str(folder))


def _from_hub(name: str, revision: str | None) -> ModelSource:
    found = hub.config_file(name, revision)
    config = read_config(found)
    load_config(config)
    commit = found.parent.name
    weights = found.parent if hub.is_complete(found.parent) else None
    if weights is not None:
        _refuse_quantized(config, weights)
        read_folder(weights)
    return ModelSource("hub", config, weights, _digest(config, name, commit), name, commit)


def _refuse_quantized(config: Mapping[str, Any], folder: Path) -> None:
    if config.get("quantization_config"):
        fail("GROW212", f"the weights in {folder} are quantized", help="dequantize them with transformers")


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

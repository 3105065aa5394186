"""A small config of any causal language model of transformers, found by trying rules until one builds and runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.configuration_utils import ALLOWED_LAYER_TYPES
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from benchmarks.families.rules import CHOICES, DEPTH, Choice, smaller

FAULTS = (
    StrictDataclassError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    NameError,
    OSError,
)
"""What transformers and torch raise at a config that they cannot build or run."""


class Unbuilt(Exception):
    """No small config of a family builds and runs."""


LEAST, MOST, DEEP = 4, 12, 24
"""Layers: as few as show every kind that the family has, between the first two; else as many as build at all."""

ELSEWHERE = 2
"""Layers of what is no part of the language model."""

UNKNOWN = 1 << 20
"""What a number without a default counts as: more than any rule makes of it."""

SWITCH = re.compile("^(is|use|enable)_moe")
"""Fields that switch a mixture on."""

COUNT = re.compile(r"experts$")
"""Fields that may count the experts of a mixture."""

OWN_NUMBER = re.compile(r"idx|index|layer_id|number|training|seed")
"""Attributes of a layer that say which one it is, and no kind."""

Path = tuple[str, ...]
Runs = Callable[[PreTrainedConfig], None]


@dataclass(frozen=True)
class Small:
    """A config that builds and runs.

    `kinds` has a letter for every layer, equal for layers that are built alike; `experts` are the paths of the fields
    that count experts, and `mixtures` the layers whose tensors these move.
    """

    config: PreTrainedConfig
    kinds: str
    experts: tuple[Path, ...]
    mixtures: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many experts a mixture has."""
        return value_at(self.config, self.experts[0])


def families() -> list[str]:
    """The types of all causal language models of transformers; `doge+is_moe` is one with a mixture switched on."""
    found: list[str] = []
    for model_type in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        cls: Any = CONFIG_MAPPING[model_type]
        classes = [cls, *(part for part in cls.sub_configs.values() if dataclasses.is_dataclass(part))]
        fields = {field.name: field for each in classes for field in dataclasses.fields(each)}
        switches = [name for name, field in fields.items() if SWITCH.search(name) and field.default is False]
        found += [model_type, *(f"{model_type}+{name}" for name in switches)]
    return found


def find(family: str, runs: Runs) -> Small:
    """The first small config that builds and runs.

    Args:
        family: one of `families`.
        runs: raises one of `FAULTS` if a model of the config does not run.

    Raises:
        Unbuilt: there is none; with what the first one met.
    """
    met: list[str] = []
    model_type, _, switch = family.partition("+")
    switched = {switch: True} if switch else {}

    def first(builds: Iterable[Callable[[], PreTrainedConfig]]) -> PreTrainedConfig | None:
        for build in builds:
            try:
                config = build()
                runs(config)
            except FAULTS as error:
                met.append(told(error))
            else:
                return config
        return None

    for choice in CHOICES:
        depths = (_depth(model_type, choice), MOST, DEEP)
        alike = first(partial(build_config, model_type, choice, depth, switched) for depth in depths)
        if alike is not None and len({*kinds_of(alike)}) > 1:
            return _small(alike)
        more = [*_variety(model_type)]
        # A family whose layers are alike by default, or one that has no default for what tells them apart.
        build = build_config if alike is None else _build_unlike
        found = first(partial(build, model_type, choice, LEAST, switched | fields) for fields in more) or alike
        if found is not None:
            return _small(found)
    raise Unbuilt(met[0])


def _build_unlike(model_type: str, choice: Choice, depth: int, more: Mapping[str, Any]) -> PreTrainedConfig:
    config = build_config(model_type, choice, depth, more)
    if len({*kinds_of(config)}) == 1:
        raise ValueError(f"{model_type} builds all layers alike with {more}")
    return config


def _small(config: PreTrainedConfig) -> Small:
    experts, mixtures = _experts(config)
    return Small(config, kinds_of(config), experts, mixtures)


def told(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def build_config(
    model_type: str, choice: Choice, depth: int, more: Mapping[str, Any] | None = None
) -> PreTrainedConfig:
    """The config of this many layers; `more` are fields of its language model."""
    cls = CONFIG_MAPPING[model_type]
    given = _given(cls, cls(), choice, depth)
    _text(given).update(more or {})
    return cls(**given)


def build_meta(config: PreTrainedConfig) -> nn.Module:
    """The model on the meta device."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def kinds_of(config: PreTrainedConfig) -> str:
    """A letter for every layer of the model, by what it is built of."""
    layers = _layers(build_meta(config))
    named = getattr(_text_of(config), "layer_types", None) or [None] * len(layers)
    built = [(_built(layer), named[i] if i < len(named) else None) for i, layer in enumerate(layers)]
    first = {kind: i for i, kind in reversed([*enumerate(built)])}
    letters = {kind: chr(ord("A") + n) for n, kind in enumerate(sorted(first, key=first.__getitem__))}
    return "".join(letters[kind] for kind in built)


def value_at(config: Any, path: Path) -> Any:
    """The value of a field of a config, or of a part of it."""
    for name in path:
        config = getattr(config, name)
    return config


def moved(config: PreTrainedConfig, path: Path, value: int) -> dict[str, tuple[torch.Size, torch.Size]]:
    """The tensors whose shapes move when one field gets another value, before and after."""
    before = shapes(config)
    after = shapes(changed(config, path, value))
    return {name: (shape, after[name]) for name, shape in before.items() if name in after and shape != after[name]}


def changed(config: PreTrainedConfig, path: Path, value: int) -> PreTrainedConfig:
    """The config with another value of one field."""
    values = config.to_dict()
    part = values
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    return type(config).from_dict(values)


def shapes(config: PreTrainedConfig) -> dict[str, torch.Size]:
    """The shapes of a model's tensors by name."""
    return {name: tensor.shape for name, tensor in build_meta(config).state_dict().items()}


def layer_in(name: str) -> int:
    """The first number in a tensor's name; -1 without."""
    return int(next((part for part in name.split(".") if part.isdigit()), -1))


def _depth(model_type: str, choice: Choice) -> int:
    """The fewest layers with as many kinds as the default depth has."""

    def kinds(depth: int) -> int:
        try:
            return len({*kinds_of(build_config(model_type, choice, depth))})
        except FAULTS:
            return 0

    default = _text_of(CONFIG_MAPPING[model_type]())
    every = kinds(max(LEAST, int(getattr(default, "num_hidden_layers", LEAST))))
    return next((depth for depth in range(LEAST, MOST) if kinds(depth) >= every), MOST)


def _text_of(config: PreTrainedConfig) -> PreTrainedConfig:
    """The part of a config that a causal language model is built from."""
    return config.get_text_config(decoder=True)


def _given(cls: type[PreTrainedConfig], default: Any, choice: Choice, depth: int) -> dict[str, Any]:
    """What a config class is given: its small sizes, and its lists by layer cut to the depth."""
    fields = {field.name: _default(field) for field in dataclasses.fields(cls)}
    if choice.fills:
        known = {field.name: str(field.type) for field in dataclasses.fields(cls)}
        fields |= {name: UNKNOWN for name, value in fields.items() if value is None and "int" in known[name].split(" ")}
        fields |= {name: v for name, v in vars(default).items() if isinstance(v, list) and fields.get(name) is None}
    given = smaller(fields, choice, depth)
    deep = max([v for name, v in fields.items() if DEPTH.search(name) and isinstance(v, int)], default=0)
    for name, value in fields.items():
        if isinstance(value, list | tuple) and len(value) == deep > 0:
            given[name] = [*value][:depth]
        elif isinstance(value, list | tuple) and _of_layers(name) and value and all(isinstance(i, int) for i in value):
            given[name] = [i for i in value if i < depth] or [1]
    if of_layers := default.to_dict().get("per_layer_config"):
        parts = {int(layer): values for layer, values in of_layers.items() if int(layer) < depth}
        given["per_layer_config"] = {layer: {**v, **smaller(v, choice, depth)} for layer, v in parts.items()}
    given |= _rope(default, choice)
    for name in default.sub_configs:
        if (part := getattr(default, name, None)) is not None:
            deep_part = depth if name in ("text_config", "decoder") or part is _text_of(default) else ELSEWHERE
            given[name] = {"model_type": part.model_type, **_given(type(part), part, choice, deep_part)}
    return given


def _rope(default: Any, choice: Choice) -> dict[str, Any]:
    """Rotary parameters, where those by default do not fit small heads, or are not there."""
    rope: dict[str, Any] | None = getattr(default, "rope_parameters", None)
    if rope and "mrope_section" in rope:
        return {"rope_parameters": {**rope, "mrope_section": [2, 1, 1]}}
    if not choice.fills or rope:
        return {}
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    kinds = {*(getattr(default, "layer_types", None) or [])}
    return {"rope_parameters": dict.fromkeys(kinds, plain)} if kinds and rope == {} else {"rope_theta": 10000.0}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _of_layers(name: str) -> bool:
    """Whether a list of this name holds numbers of layers."""
    return re.search(r"layer|indices|idx", name) is not None and "types" not in name


def _text(given: dict[str, Any]) -> dict[str, Any]:
    return given.get("text_config", given)


def _variety(model_type: str) -> Iterator[dict[str, Any]]:
    """What may tell layers apart in a family whose layers are alike by default."""
    cls = type(_text_of(CONFIG_MAPPING[model_type]()))
    known = {field.name: field for field in dataclasses.fields(cls)}
    if "use_sliding_window" in known:
        yield {"use_sliding_window": True}
    if "layer_types" in known:
        pairs = [(kind, other) for kind in ALLOWED_LAYER_TYPES for other in ("full_attention", "linear_attention")]
        yield from ({"layer_types": [*pair] * (LEAST // 2)} for pair in pairs if len({*pair}) > 1)
    for name, field in known.items():
        if _of_layers(name) and "list[int]" in str(field.type) and field.default is None:
            yield {name: [1]}


def _layers(model: nn.Module) -> list[nn.Module]:
    """The modules of the longest list of layers; of equal ones the one with the most parameters."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) > 1]
    return [*max(lists, key=lambda m: (len(m), sum(p.numel() for p in m.parameters())), default=[])]


def _built(layer: nn.Module) -> str:
    """What a layer is built of: classes, shapes, and attributes that are plain values."""
    words: list[str] = []
    for name, module in layer.named_modules():
        plain = {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, bool | int | str) and not OWN_NUMBER.search(key) and not key.startswith("_")
        }
        own = {key: tuple(p.shape) for key, p in module.named_parameters(recurse=False)}
        words.append(f"{name} {type(module).__name__} {sorted(plain.items())} {sorted(own.items())}")
    return "\n".join(words)


def _experts(config: PreTrainedConfig) -> tuple[tuple[Path, ...], tuple[int, ...]]:
    """The fields that count experts, and the layers that have some."""
    found: list[Path] = []
    mixed: set[int] = set()
    for path in _expert_fields(config, ()):
        size = value_at(config, path)
        try:
            shapes_moved = moved(config, path, 2 * size).items()
            names = [n for n, (old, new) in shapes_moved if len(old) > 1 and not old[0] % size and new[0] == 2 * old[0]]
        except FAULTS:
            continue
        if names:
            found.append(path)
            mixed |= {layer_in(name) for name in names}
    return tuple(found), tuple(sorted(mixed))


def _expert_fields(config: Any, at: Path) -> Iterator[Path]:
    for name, value in config.to_dict().items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 2 and COUNT.search(name):
            yield (*at, name)
        elif name in config.sub_configs and getattr(config, name, None) is not None:
            yield from _expert_fields(getattr(config, name), (*at, name))

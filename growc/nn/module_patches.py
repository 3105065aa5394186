"""The modules that a grown model changes: what a layer's entry in the config calls by name.

    "growc": {"model_type": "gpt2", "layers": {"0": {"modules": {"mlp": {"kind": "mixture", ...}}}}}

Keys are paths of modules inside of the layer. A kind is a function in this room that gets the module, the config of the
layer, and the other values of its entry, and returns what takes the module's place: itself, with another class, or
another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

KINDS: Mapping[str, str] = {
    "adjugates": "growc.nn.adjugates:add_adjugates",
    "attention_experts": "growc.nn.attention_experts:of_attention",
    "deltas": "growc.nn.deltas:of_ffn",
    "domain_router": "growc.nn.domain_router:of_router",
    "mixture": "growc.nn.mixture:of_ffn",
    "mixture_of_routers": "growc.nn.mixture_of_routers:of_router",
}
"""Name in the config -> module and function."""


def change(layer: nn.Module, path: str, config: Any, entry: Mapping[str, Any]) -> None:
    """Change the module at `path` of one layer, in place.

    Args:
        layer: a decoder layer.
        path: of the module, inside of the layer.
        config: of the layer.
        entry: the kind, and its parameters.
    """
    module, _, function = KINDS[entry["kind"]].partition(":")
    parameters = {key: value for key, value in entry.items() if key != "kind"}
    changed: nn.Module = getattr(import_module(module), function)(layer.get_submodule(path), config, **parameters)
    layer.set_submodule(path, changed)

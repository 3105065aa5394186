"""Models that stock transformers cannot express: layers that differ in experts, and routers that know siblings.

For every stock family the config and model classes are derived on first use; nothing here names a family.
"""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any, cast

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from growc.anatomy.grown_format import GROWN, sizes_of
from growc.nn.exclusive import make_exclusive
from growc.nn.module_patches import change


@cache
def grown_classes(model_type: str) -> tuple[type[PreTrainedConfig], type[PreTrainedModel]]:
    """The config and causal language model classes of grown models of one stock family, known to the Auto classes."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    stock_config: type[PreTrainedConfig] = CONFIG_MAPPING[model_type]
    stock_model = cast(type[PreTrainedModel], MODEL_FOR_CAUSAL_LM_MAPPING[stock_config])
    config_class = type(f"Grown{stock_config.__name__}", (stock_config,), {"model_type": GROWN})

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        stock_model.__init__(self, config, *args, **kwargs)
        _differ(self, config)

    @init.guard_torch_init_functions()
    def initialize_weights(self: Any) -> None:
        stock_model.initialize_weights(self)
        for module in self.modules():
            if draw := getattr(module, "draw", None):
                draw(self.config.initializer_range)

    # transformers reads the source of a class's module to see which kernels its experts and attention can use.
    body = {
        "__init__": __init__,
        "initialize_weights": initialize_weights,
        "config_class": config_class,
        "__module__": stock_model.__module__,
    }
    model_class = type(f"Grown{stock_model.__name__}", (stock_model,), body)
    AutoModelForCausalLM.register(config_class, model_class)
    conversion = cast(Any, get_checkpoint_conversion_mapping(model_type))
    if conversion is not None:
        register_checkpoint_conversion_mapping(model_class.__name__, conversion, overwrite=True)
    return config_class, model_class


def _differ(model: PreTrainedModel, config: Any) -> None:
    """Rebuild the layers whose sizes differ from the config's, and let routers know their siblings."""
    layers = next(m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == config.num_hidden_layers)
    rebuilt = False
    for index, entry in ((int(i), e) for i, e in config.growc["layers"].items()):
        sizes = sizes_of(entry)
        of_layer = config
        if any(getattr(config, key) != value for key, value in sizes.items()):
            of_layer = copy.copy(config)
            for key, value in sizes.items():
                setattr(of_layer, key, value)
            layers[index] = type(layers[index])(of_layer, index)
            rebuilt = True
        for path, changed in entry.get("modules", {}).items():
            change(layers[index], path, of_layer, changed)
            rebuilt = True
        if "replicas" in entry:
            make_exclusive(model.get_submodule(entry["router"]), entry["replicas"], entry.get("open", 0.0))
    if rebuilt:
        model.post_init()
    for path, module in model.named_modules():
        if plan := getattr(module, "expert_parallel", None):
            every = re.sub(r"\.\d+\.", ".*.", path)  # rules are of all layers
            model.ep_plan.update({f"{every}.{name}": style for name, style in plan().items()})

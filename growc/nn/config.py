"""What `model_type: growc` resolves to.

Apart from the models, because it is registered while transformers is half imported: at that moment its model
classes do not exist yet.
"""

from __future__ import annotations

from typing import Any

from transformers.configuration_utils import PreTrainedConfig

from growc.anatomy.grown_format import GROWN


class GrownConfig(PreTrainedConfig):
    """A name only: constructing it answers with the config class of the source family."""

    model_type = GROWN

    def __new__(cls, **values: Any) -> Any:
        """The config of a grown model; `values` has the section that `growc.anatomy.grown_format` describes."""
        from growc.nn.grown import grown_classes

        config_class, _ = grown_classes(values[GROWN]["model_type"])
        return config_class(**values)

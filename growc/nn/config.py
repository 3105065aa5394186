"""What `model_type: growc` resolves to.

Apart from the models, because it is registered while transformers is half imported: at that moment its model
classes do not exist yet.
"""

from __future__ import annotations

from typing import Any

from transformers.configuration_utils import PreTrainedConfig
from typing_extensions import override

from growc.operators.grown_config import GROWN


class GrownConfig(PreTrainedConfig):
    """A name only: `from_dict` answers with the config class of the source family."""

    model_type = GROWN

    @override
    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        from growc.nn.grown import grown_classes

        config_class, _ = grown_classes(config_dict[GROWN]["model_type"])
        return config_class.from_dict(config_dict, **kwargs)

"""What a run leaves for others to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from growc.files.beside import TRAINING
from tests.run import tiny


def loaded(checkpoint: Path) -> PreTrainedModel:
    """The model in a checkpoint's folder: nothing missing or left over, and every weight that of the training state."""
    read: Any = AutoModelForCausalLM.from_pretrained(checkpoint, output_loading_info=True)
    model, report = read
    assert not any(report.values()), report
    state = tiny.tensors(checkpoint / TRAINING)
    weights: dict[str, Tensor] = model.state_dict()
    assert weights.keys() <= {name.removeprefix("model.") for name in state}
    for name, weight in weights.items():
        assert torch.equal(weight, state[f"model.{name}"]), name
    return model.eval()

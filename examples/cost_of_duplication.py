"""What would plain duplication of experts cost a model? Ask before touching a weight.

    python examples/cost_of_duplication.py CHECKPOINT_FOLDER TEXT_FILE

The folder holds any mixture of experts that transformers can load; the text is read as bytes, so the model's vocabulary
must have at least 256 entries for the numbers to mean anything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedModel

import growc
from growc.model import inspect
from growc.nn.duplicates import as_duplicated


def loss(model: PreTrainedModel, tokens: torch.Tensor) -> float:
    """Mean cross-entropy in nats over tokens of shape (sequences, length + 1)."""
    with torch.no_grad():
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    return float(F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten()))


def main(folder: Path, text: Path) -> None:
    """Print the loss as it is, and with every expert doubled under plain top-K."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    graph = inspect(config, sequence_length=128)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = torch.tensor(list(text.read_bytes()[: 16 * 129])).view(-1, 129)
    before = loss(model, tokens)
    with as_duplicated(model, {site: (2,) * site.num_experts for site in graph.moe}) as k_eff:
        after = loss(model, tokens)
    met = {layer: round(seen.mean, 2) for layer, seen in k_eff.items()}
    print(f"growc {growc.__version__}")  # its import is what lets transformers load grown models
    print(f"loss {before:.4f}; with every expert doubled {after:.4f} ({after - before:+.4f} nats)")
    print(f"different experts a token meets, by layer: {met}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

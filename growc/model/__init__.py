"""What a model is: from a Hugging Face config, folder or hub name to a `ModelGraph`.

`resolve` finds a spec's model and `inspect` describes it: built on the meta device without weights, traced by
torch.fx, with its sites (where it can grow), axes (what must grow together) and cost (parameters, FLOPs per
token by part). No family is known by name.
"""

from growc.model.inspect import inspect
from growc.model.source import ModelSource, fetch, resolve

__all__ = ["ModelSource", "fetch", "inspect", "resolve"]

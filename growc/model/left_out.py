"""What a run leaves out of the model that it starts from: it trains and saves the language model, and nothing else."""

from __future__ import annotations

from collections.abc import Container, Iterator

from growc.anatomy.model_graph import ModelGraph
from growc.files.folder import read_folder
from growc.files.vocabulary import has_tokenizer
from growc.model.prediction import NUMBERED, predicts, promised
from growc.model.source import ModelSource
from growc.model.whole import is_whole, other_parts

EMBEDDINGS = "embed_tokens.weight"


def prediction_tensors(source: ModelSource, model: ModelGraph) -> list[str]:
    """The tensors of layers for multi-token prediction in a source's folder, if it has one; headers are read.

    Args:
        source: where the model comes from.
        model: what it is.
    """
    if source.weights is None:
        return []
    counts = [*promised(model.config).values(), *promised(source.config).values()]
    names = read_folder(source.weights).location
    found = (name for name in names if predicts(name, model.layers, max(counts, default=0)))
    return sorted(name for name in found if not is_whole(source.config) or _of_language(name, names))


def _of_language(name: str, names: Container[str]) -> bool:
    """Whether a layer of a whole model is one behind its language model's, which has embeddings beside its layers."""
    number = NUMBERED.search(name)
    return number is None or f"{name[: number.start()]}{'.' * bool(number.start())}{EMBEDDINGS}" in names


def left_out(source: ModelSource, model: ModelGraph) -> Iterator[str]:
    """What a run's checkpoints lack of a source, in words."""
    if source.kind != "module" and is_whole(source.config) and (parts := other_parts(source.config)):
        yield f"they lack what {' and '.join(parts)} describe, for it is a {source.config['model_type']} model"
    if source.kind == "hub" and source.weights is not None and not has_tokenizer(source.weights):
        yield f"they lack a tokenizer, for the local cache has none (`hf download {source.origin}` fetches it)"
    if names := prediction_tensors(source, model):
        yield f"they lack its layers for multi-token prediction ({len(names)} tensors, {names[0]} among them)"

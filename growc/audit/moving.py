"""Which tensors have an expert dimension: those whose shapes move when a model is built with more experts."""

from __future__ import annotations

import json
from functools import lru_cache

from growc.anatomy.grown_format import without_siblings
from growc.anatomy.model_graph import ModelGraph
from growc.audit.fault import refuse
from growc.diagnostics import GrowcError
from growc.model.axes import with_fields
from growc.model.build import REFUSALS, build_meta, load_config
from growc.model.layers import layer_of

Shapes = dict[str, tuple[int, ...]]


def expert_tensors(graph: ModelGraph) -> frozenset[str]:
    """The tensors that have rows for experts: those that are longer in a model with more of them.

    The two models that tell are built without siblings: the sizes of their groups are no shapes.

    Raises:
        GrowcError: GROW665, something else moves with the number of experts than the rows of tensors of layers.
    """
    field = graph.expert_field
    if field is None:
        refuse(f"no one field of the config of this {graph.model_type} sets the number of experts")
    moved = _moved(json.dumps(without_siblings(graph.config, field), sort_keys=True), field)
    for name, dims in moved.items():
        if dims != (0,) or layer_of(graph.blocks.path, name) is None:
            refuse(f"{name} changes with the number of experts, and no reading says how")
    return frozenset(moved) - graph.tied.keys()


@lru_cache(maxsize=16)
def _moved(config: str, field: str) -> dict[str, tuple[int, ...]]:
    """The tensors whose shapes move with a field, and in which dimensions."""
    loaded = load_config(json.loads(config))
    size: int = getattr(loaded, field)
    before = _shapes(config, {})
    for other in (2 * size, size + 1, size + 2, 3 * size):  # the first that the family can be built with
        after = _shapes(config, {field: other})
        if after is not None and before is not None:
            # What comes or goes moves as a whole.
            return {
                name: tuple(d for d, (a, b) in enumerate(zip(shape, after.get(name, ()), strict=False)) if a != b)
                for name, shape in before.items()
                if after.get(name) != shape
            } | dict.fromkeys(after.keys() - before.keys(), ())
    raise AssertionError(f"no model can be built with another {field}, which its trace has found by doing so")


def _shapes(config: str, fields: dict[str, int]) -> Shapes | None:
    """Shapes of all tensors, built on the meta device; None if the model cannot have such values."""
    try:
        model = build_meta(with_fields(load_config(json.loads(config)), fields))
    except (GrowcError, *REFUSALS):
        return None
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}

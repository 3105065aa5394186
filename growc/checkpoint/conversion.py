"""Between tensors in memory and tensors on disk, as transformers maps them for each family.

Programs speak of tensors in memory (`mlp.experts.gate_up_proj`, all experts fused); folders hold what the hub does (one
tensor per expert and projection). transformers knows both directions for every family. Both work on meta tensors, so
names and shapes are known before a byte is read, and on a few tensors at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)


@dataclass(frozen=True)
class Load:
    """Tensors on disk that together make up one tensor in memory, or several.

    `members` are disk names in the order in which they are joined, each with the pattern by which `converter` knows
    it. Without a converter there is one member, which only takes the name `first`.
    """

    first: str
    members: tuple[tuple[str, str], ...]
    converter: WeightConverter | None


class Loading:
    """How the files of one folder become the tensors of `model`.

    `loads` are in the order of the model's tensors; `unknown` are names on disk that the model has no place for.

    Args:
        model: the model that the folder holds, on the meta device.
        names: every tensor on disk.
    """

    def __init__(self, model: PreTrainedModel, names: Iterable[str]) -> None:
        self._model = model
        mapping = get_model_conversion_mapping(model)
        renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
        converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
        by_pattern = {pattern: entry for entry in converters for pattern in entry.source_patterns}
        known = model.state_dict()
        found: dict[str, Load] = {}
        self.unknown: list[str] = []
        for name in sorted(names, key=dot_natural_key):
            prefix = model.base_model_prefix
            first, pattern = rename_source_key(name, renamings, converters, prefix, known)
            if first not in known and name in known:  # stored as in memory already
                first, pattern = name, None
            if first not in known:
                self.unknown.append(name)
                continue
            before = found.get(first)
            earlier = before.members if before else tuple[tuple[str, str], ...]()
            members = (*earlier, (name, pattern or name))
            found[first] = Load(first, members, by_pattern[pattern] if pattern else None)
        order = {name: position for position, name in enumerate(known)}
        self.loads = sorted(found.values(), key=lambda load: order[load.first])

    def convert(self, load: Load, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The tensors in memory that `load` makes of those on disk, which `read` gives by name.

        Raises:
            RuntimeError, ValueError: their shapes do not fit together.
        """
        names = [name for name, _ in load.members]
        if load.converter is None:
            if len(names) > 1:
                raise ValueError(f"{' and '.join(names)} are the same tensor")
            return {load.first: read(names[0])}
        converter = copy.deepcopy(load.converter)
        for name, pattern in load.members:
            # The annotation asks for a future; finished tensors are what saving passes, too.
            converter.add_tensor(load.first, name, pattern, read(name))  # pyright: ignore[reportArgumentType]
        made = converter.convert(load.first, model=self._model, config=self._model.config)
        return {
            name: tensor[0] if isinstance(tensor, list) else tensor  # pyright: ignore[reportUnnecessaryIsInstance]
            for name, tensor in made.items()
        }


def to_disk(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `save_pretrained` would write for these tensors: disk name -> tensor, in the order of writing."""
    return revert_weight_conversion(model, dict(tensors))


def saved_together(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
    """Names in memory, grouped so that each group can be turned into its disk form alone; in the order given.

    Most families save every tensor by itself. Where several share a tensor on disk (fused projections), each of them
    alone claims its name: those with a claim in common go together.

    Args:
        model: the grown model, on the meta device.
        tensors: meta tensors of all names.
    """
    groups: dict[str, list[str]] = {}
    claimed: dict[str, str] = {}
    for name, tensor in tensors.items():
        claims = to_disk(model, {name: tensor})
        owner = next((claimed[claim] for claim in claims if claim in claimed), name)
        groups.setdefault(owner, []).append(name)
        claimed.update(dict.fromkeys(claims, owner))
    return [tuple(group) for group in groups.values()]

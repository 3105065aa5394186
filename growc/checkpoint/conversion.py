"""Between tensors in memory and tensors on disk, as transformers maps them for each family.

Programs speak of tensors in memory (`mlp.experts.gate_up_proj`, all experts fused); folders hold what the hub does (one
tensor per expert and projection). transformers knows both directions for every family. Both work on meta tensors, so
names and shapes are known before a byte is read, and on a few tensors at a time.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

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

    `loads` are in the order of the model's tensors; `unknown` are names on disk that the model has no place for, and
    `beside` those of tensors that are no part of the one that is wanted.

    Args:
        model: the model that the folder holds, on the meta device.
        names: every tensor on disk.
        in_memory: whether the folder has every tensor as it is in memory.
        part: the tensors that are wanted, where they are a part of the model's: by the names that they are to have,
            those that they have in the model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        names: Iterable[str],
        *,
        in_memory: bool = False,
        part: Mapping[str, str] | None = None,
    ) -> None:
        self._model, self._part = model, part or {}
        self._own = {whole: name for name, whole in self._part.items()}
        mapping = [] if in_memory else get_model_conversion_mapping(model)
        renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
        converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
        by_pattern = {pattern: entry for entry in converters for pattern in entry.source_patterns}
        known = model.state_dict()
        found: dict[str, Load] = {}
        self.unknown: list[str] = []
        self.unknown += [name for name in names if not _sortable(name)]
        for name in sorted((name for name in names if _sortable(name)), key=dot_natural_key):
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
        loads = sorted(found.values(), key=lambda load: order[load.first])
        wanted = known if part is None else self._own
        self.loads = [
            replace(load, first=self._own.get(load.first, load.first)) for load in loads if load.first in wanted
        ]
        self.beside = [name for load in loads if load.first not in wanted for name, _ in load.members]

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
        converter, first = copy.deepcopy(load.converter), self._part.get(load.first, load.first)
        for name, pattern in load.members:
            # The annotation asks for a future; finished tensors are what saving passes, too.
            converter.add_tensor(first, name, pattern, read(name))  # pyright: ignore[reportArgumentType]
        made = converter.convert(first, model=self._model, config=self._model.config)
        return {
            self._own.get(name, name): tensor[0] if isinstance(tensor, list) else tensor  # pyright: ignore[reportUnnecessaryIsInstance]
            for name, tensor in made.items()
        }


def _sortable(name: str) -> bool:
    """Whether transformers can sort the name among others: not with digits like ², nor with thousands of them."""
    try:
        dot_natural_key(name)
    except ValueError:
        return False
    return True


def misnumbered(load: Load) -> str | None:
    """What is wrong with the numbers of joined tensors, if they are not 0, 1, 2 and so on.

    transformers joins whatever there is in order of the numbers: without expert 3, expert 4 would take its place.
    """
    per_pattern: dict[str, list[list[str]]] = {}
    for name, pattern in load.members:
        if load.converter is not None and "*" in pattern:
            per_pattern.setdefault(pattern, []).append(name.split("."))
    for names in per_pattern.values():
        for number, parts in enumerate(names):
            others = [part for part, first in zip(parts, names[0], strict=False) if part != first]
            # Apart from the first name, each differs from it in one part, which ends with its place in the order.
            if len(parts) != len(names[0]) or (number and (len(others) != 1 or not _numbered(others[0], number))):
                return f"{'.'.join(parts)} is where number {number} of {len(names)} should be"
        if len(names) > 1:
            zeroth = next(part for part, second in zip(*names[:2], strict=True) if part != second)
            if not _numbered(zeroth, 0):
                return f"{'.'.join(names[0])} is where number 0 of {len(names)} should be"
    return None


def _numbered(part: str, number: int) -> bool:
    """Whether a part of a name is this number as Python writes it, after letters if there are any."""
    return re.fullmatch(rf"(?:.*[^\d-])?{number}", part) is not None


@dataclass(frozen=True)
class Storage:
    """How a folder stores the tensors of `model`: as its family is saved, but for those that stand as in memory.

    The model is on the meta device. `as_is` are names of tensors that the folder has unconverted. `part` has the names
    that tensors have in the model, where they are a part of it, by those that they go by here.
    """

    model: PreTrainedModel
    as_is: frozenset[str] = frozenset()
    part: Mapping[str, str] = field(default_factory=dict[str, str])

    def stored(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is on disk for these tensors in memory, by name on disk."""
        converted = {self.named(name): tensor for name, tensor in tensors.items() if name not in self.as_is}
        as_is = {self.named(name): tensor for name, tensor in tensors.items() if name in self.as_is}
        return revert_weight_conversion(self.model, converted) | as_is

    def named(self, name: str) -> str:
        """The name of a tensor in the model."""
        return self.part.get(name, name)

    def changed(self, tensors: Mapping[str, Tensor]) -> frozenset[str]:
        """Those of the tensors in memory that the family's conversion does not pass on as they are."""
        stored = replace(self, as_is=frozenset()).stored(tensors)
        return frozenset(name for name, tensor in tensors.items() if stored.get(self.named(name)) is not tensor)

    def together(self, tensors: Mapping[str, Tensor]) -> list[tuple[str, ...]]:
        """Names in memory, grouped so that each group can be stored alone; in the order given.

        Most families save every tensor by itself. Where several share a tensor on disk (fused projections), each of
        them alone claims its name: those with a claim in common go together.

        Args:
            tensors: meta tensors of all names.
        """
        groups: dict[str, list[str]] = {}
        claimed: dict[str, str] = {}
        for name, tensor in tensors.items():
            claims = self.stored({name: tensor})
            owner = next((claimed[claim] for claim in claims if claim in claimed), name)
            groups.setdefault(owner, []).append(name)
            claimed.update(dict.fromkeys(claims, owner))
        return [tuple(group) for group in groups.values()]

"""The training state of a grown checkpoint: weights in fp32 and moments in their own type, as `growc run` grows them.

Tensors are computed one at a time into a file that the system pages, so memory does not hold the state.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from growc.checkpoint.training import SHARDS, Meta, State, read_meta, read_tensor, types_of, write_state
from growc.checkpoint.validate_training_state import STEP, told
from growc.checkpoint.write import shell
from growc.growth.rewrite import Rewrite
from growc.model.build import canonical
from growc.numerics.evaluate import Fetch, InMemory, computed_in, evaluate
from growc.programs import Expr

SECOND = "exp_avg_sq"
"""Adam's second moment: its program is that of squares. All other moments follow the first."""


def _read(state: Path, key: str) -> Tensor:
    """One tensor of a training state.

    Raises:
        GrowcError: GROW661, it is damaged.
    """
    with told(state):
        return read_tensor(state, key)


@dataclass
class _Stored:
    """A `Fetch` over one kind of tensor of a state; the last one read is kept, as programs read it in a row."""

    state: Path
    key: Callable[[str], str]
    _kept: tuple[str, InMemory] | None = field(default=None, init=False)

    def rows(self, name: str, index: Tensor) -> Tensor:
        """See `Fetch.rows`."""
        return self._held(name).rows(name, index)

    def std(self, name: str) -> float:
        """See `Fetch.std`."""
        return self._held(name).std(name)

    def _held(self, name: str) -> InMemory:
        if self._kept is None or self._kept[0] != name:
            self._kept = None  # frees the tensor before the next is read
            tensor = _read(self.state, self.key(name))
            self._kept = name, InMemory({name: tensor.to(computed_in(tensor.dtype))})
        return self._kept[1]


@dataclass(frozen=True)
class _Programs:
    """A `Fetch` over what `program` makes of the tensors `before`, each growth rounded to the type `kept`."""

    rewrite: Rewrite
    program: Callable[[str], Expr | None]
    before: Fetch
    kept: torch.dtype

    def rows(self, name: str, index: Tensor) -> Tensor:
        """See `Fetch.rows`."""
        program = self.program(name)
        assert program is not None
        rows = evaluate(program, index, self.before, torch.float32)
        return rows if self.kept == torch.float32 else rows.to(self.kept).float()

    def std(self, name: str) -> float:
        """See `Fetch.std`."""
        return InMemory({name: self.rows(name, torch.arange(_rows(self.rewrite, name)))}).std(name)


@torch.no_grad()
def grow_training(source: Path, to: Path, steps: Sequence[Rewrite]) -> None:
    """Write the state in `source`, grown by `steps`, to the new folder `to`.

    Args:
        source: a training state.
        to: where the grown one goes.
        steps: the growths, the first one first, their deferred vectors bound.
    """
    meta, last = read_meta(source), steps[-1]
    with told(source):
        stored_as = types_of(source)
    paged = _Paged(to / "paged")
    paged.folder.mkdir(parents=True)
    wide = torch.float32
    weights = _fetch(_Stored(source, "model.{}".format), steps, lambda step: step.programs.__getitem__, wide)
    model = {name: paged.filled(weights, last, name, wide) for name in last.grown.tensors}
    optimizer: State = {}
    for name, kinds in _moments(meta, steps):
        optimizer[name] = {}
        for kind in kinds:
            if kind == STEP:
                optimizer[name][kind] = _read(source, f"optimizer.{_origin(name, steps)}.{kind}")
                continue
            stored = _Stored(source, f"optimizer.{{}}.{kind}".format)
            kept = stored_as[stored.key(_origin(name, steps))]
            optimizer[name][kind] = paged.filled(_fetch(stored, steps, _moment(kind), kept), last, name, kept)
    config = canonical(shell(last.grown.config).config)
    write_state(to, model, config, optimizer, meta.key, meta.node, meta.step, meta.tokens, alone=True)
    shutil.rmtree(paged.folder)


def size_of(source: Path, steps: Sequence[Rewrite]) -> int:
    """Bytes that `grow_training` needs on the disk, those of the paged tensors included."""
    before = sum(info.size for info in steps[0].source.tensors.values())
    after = sum(info.size for info in steps[-1].grown.tensors.values())
    return 2 * round(sum(file.stat().st_size for file in (source / SHARDS).iterdir()) * after / before)


Programs = Callable[[Rewrite], Callable[[str], Expr | None]]
"""For a growth: the program of one kind of tensor, by name."""


def _fetch(stored: Fetch, steps: Sequence[Rewrite], program: Programs, kept: torch.dtype) -> Fetch:
    for step in steps:
        stored = _Programs(step, program(step), stored, kept)
    return stored


def _moment(kind: str) -> Programs:
    def program(step: Rewrite) -> Callable[[str], Expr | None]:
        return lambda name: step.moments[name].second if kind == SECOND else step.moments[name].first

    return program


def _moments(meta: Meta, steps: Sequence[Rewrite]) -> Iterator[tuple[str, list[str]]]:
    """The tensors that keep optimizer state through all growths, and which."""
    for name in steps[-1].moments:
        kinds, of = meta.moments.get(_origin(name, steps), []), name
        for step in reversed(steps):
            if not kinds:  # and earlier growths need not know it
                break
            moments = step.moments[of]
            kinds = [k for k in kinds if moments.keep_step and (k == STEP or _moment(k)(step)(of) is not None)]
            of = moments.origin(of)
        if kinds:
            yield name, kinds


def _origin(name: str, steps: Sequence[Rewrite]) -> str:
    """The tensor whose step count a grown tensor keeps, through all growths."""
    for step in reversed(steps):
        name = step.moments[name].origin(name) if name in step.moments else name
    return name


@dataclass
class _Paged:
    """Tensors in files that the system pages in and out."""

    folder: Path
    count: int = 0

    def filled(self, fetch: Fetch, last: Rewrite, name: str, kept: torch.dtype) -> Tensor:
        """Tensor `name` of the grown model, computed block by block of about 64 MiB."""
        shape = last.grown.tensors[name].shape
        numel = torch.Size(shape).numel()
        self.count += 1
        path = str(self.folder / str(self.count))
        tensor = torch.from_file(path, shared=True, size=max(1, numel), dtype=kept)[:numel].view(shape)
        if not shape:
            return tensor.copy_(fetch.rows(name, torch.arange(1)).view(()))
        rows = max(1, (1 << 24) * shape[0] // max(1, numel))
        for block in torch.arange(shape[0]).split(rows):
            tensor[block] = fetch.rows(name, block).to(kept)
        return tensor


def _rows(step: Rewrite, name: str) -> int:
    shape = step.grown.tensors[name].shape
    return shape[0] if shape else 1

"""Router Upcycling: experts are copies; queries and keys of the router come from heads of the attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from growc.anatomy.sites import AttentionSite, Heads, MoeSite
from growc.audit.readings.dense import copies, read_dense, zeros
from growc.audit.record import recorded_replicas
from growc.audit.rows import Told, whole
from growc.audit.step import Reading, Step
from growc.audit.value import Value, computed, moved
from growc.numerics.matrices import one_thread
from growc.numerics.random import Stream
from growc.operators.router_upcycling import RouterUpcycling


def read(step: Step[RouterUpcycling]) -> Reading:
    """See `growc.audit.readings`."""
    if step.before.moe:
        told: dict[str, Told] = {}
        for site in _chosen(step):
            recorded_replicas(step, site.layer, [1] * site.num_experts)
            told |= _router(step, site)
        return told
    made = {name: told for site in step.after.moe for name, told in _router(step, site).items()}
    return {**made, **read_dense(step, copies, lambda name: made.get(name) or zeros(step, name))}


def _chosen(step: Step[RouterUpcycling]) -> Sequence[MoeSite]:
    layers, moe = step.operator.layers, step.before.moe
    if layers == "all":
        return moe
    return moe[1::2] if layers == "alternate" else [site for site in moe if site.layer in layers]


def _router(step: Step[RouterUpcycling], site: MoeSite) -> dict[str, Told]:
    """The queries and the keys of the router of one layer."""
    (attention,) = (one for one in step.before.attention if one.layer == site.layer)
    made = _Made(step, site.num_experts, attention, f"{site.router}.weight")
    names = {f"{site.router}.queries": attention.query, made.name: (*attention.query, *attention.key)}
    dtypes = {name: step.source.dtype(min(f"{path}.weight" for path in paths)) for name, paths in names.items()}
    return {
        f"{site.router}.queries": Told(dtypes[f"{site.router}.queries"], made.query_row),
        made.name: Told(dtypes[made.name], made.key_row),
    }


@dataclass(frozen=True)
class _Made:
    """The router of one layer, whose keys are the tensor `name`."""

    step: Step[RouterUpcycling]
    experts: int
    attention: AttentionSite
    name: str

    def query_row(self, number: int) -> Value:
        """A row of the queries: those of the first head of the first pair, then of its partner, and so on."""
        made, read = self.step.once(f"{self.name}/queries", self._queries)
        return moved(read, made[number].to(read.tensor.dtype))

    def key_row(self, expert: int) -> Value:
        """An expert's key, or what makes it of a token."""
        made, read = self.step.once(f"{self.name}/keys", self._keys)
        return computed(made[expert], f"made of the key heads of a pair, in {self.attention.key[0]}", *read, made)

    def _queries(self) -> tuple[Tensor, Value]:
        heads, read = self._query_heads()
        return torch.cat([heads[head] for pair in _pairs(heads) for head in pair]), read

    @one_thread()
    def _keys(self) -> tuple[Tensor, list[Value]]:
        (queries, first), (keys, second) = self._query_heads(), self._key_heads()
        # A key head may serve several query heads.
        serve = len(queries) // len(keys)
        of_pair = [torch.cat([keys[head // serve] for head in pair]) for pair in _pairs(queries)]
        stream, how = Stream(self.step.seed_of(self.name), 0), self.step.operator
        rows: list[Tensor] = []
        if how.keys == "token":
            spread = how.noise * torch.stack(of_pair).std(correction=0)
            plain = [of_pair[expert % len(of_pair)] for expert in range(self.experts)]
            for expert, matrix in enumerate(plain):
                noise = spread * stream.normal(matrix.numel()).view_as(matrix)
                seen = any(torch.equal(matrix, earlier) for earlier in plain[:expert])
                rows.append((matrix + noise if seen else matrix).flatten())
            return torch.stack(rows), [first, second]
        assert how.keys == "static", "what needs a run is refused before"
        each = len(of_pair) if how.combine == "per_router_keys" else 1
        tokens = stream.normal(self.experts, each, of_pair[0].shape[1])
        for expert in range(self.experts):
            matrix = of_pair[expert % len(of_pair)]
            rows.append(torch.cat([matrix @ token for token in tokens[expert]]))
        return torch.stack(rows), [first, second]

    def _query_heads(self) -> tuple[Tensor, Value]:
        assert self.attention.query_heads is not None
        return self._heads(self.attention.query[0], self.attention.query_heads, self.attention.heads)

    def _key_heads(self) -> tuple[Tensor, Value]:
        assert self.attention.key_heads is not None
        return self._heads(self.attention.key[0], self.attention.key_heads, self.attention.kv_heads)

    def _heads(self, path: str, heads: Heads, count: int) -> tuple[Tensor, Value]:
        """The matrices of the heads of a projection, of shape (heads, width, stream), in float64."""
        found = whole(self.step.source, f"{path}.weight")
        outputs = found.wide.T if heads.transposed else found.wide
        starts = [heads.start + head * heads.stride for head in range(count)]
        return torch.stack([outputs[start : start + self.attention.qk_width] for start in starts]), found


def _pairs(heads: Tensor) -> list[tuple[int, int]]:
    """The first head that is left, with the one left that is most like it by the cosine; an odd one with itself."""
    flat = heads.flatten(1)
    flat = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)
    alike, left, found = flat @ flat.T, list(range(len(heads))), list[tuple[int, int]]()
    while left:
        head = left.pop(0)
        partner = max(left, key=lambda other: float(alike[head, other])) if left else head
        left = [other for other in left if other != partner]
        found.append((head, partner))
    return found

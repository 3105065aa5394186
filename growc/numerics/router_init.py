"""The functions by which programs make tensors of whole source matrices, and of vectors: all in float64, on the CPU.

As those of `growc.numerics.matrices` they are computed by one thread, alike on every rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from growc.numerics.functions.function import Parameters
from growc.numerics.random import Stream

Maker = Callable[[Sequence[Tensor], Parameters, Stream], Tensor]


def pairs(heads: Tensor) -> list[tuple[int, int]]:
    """Heads in pairs: the first that is left, with the one left that is most like it by the cosine of their matrices.

    The last of an odd number is its own partner. `heads` is of shape (heads, width, stream).
    """
    flat = F.normalize(heads.flatten(1), dim=1)
    alike = (flat @ flat.T).tolist()
    left, found = list(range(len(heads))), list[tuple[int, int]]()
    while left:
        head = left.pop(0)
        partner = max(left, key=alike[head].__getitem__, default=head)
        left = [other for other in left if other != partner]
        found.append((head, partner))
    return found


def router_queries(inputs: Sequence[Tensor], parameters: Parameters, _: Stream) -> Tensor:
    """Query matrices of the routers, one above the other: a router's are those of a pair of heads."""
    heads = _heads(inputs[0], parameters, "query")
    return torch.cat([heads[head] for pair in pairs(heads) for head in pair])


def router_keys(inputs: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """The keys of experts, a row for each: what the key heads of a pair make of a random token.

    Expert e has pair e, in a circle, and a token of its own; with `per_router` keys one for every router.
    """
    of_pair = _key_heads(inputs, parameters)
    experts = int(parameters["experts"])
    tokens = stream.normal(experts, len(of_pair) if parameters["per_router"] else 1, of_pair[0].shape[1])
    return torch.stack([(tokens[e] @ of_pair[e % len(of_pair)].T).flatten() for e in range(experts)])


def router_key_projections(inputs: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """The maps of tokens to the keys of experts, a row for each: the key heads of a pair.

    Expert e has pair e, in a circle. Where an earlier one has the same heads, `noise` is added, in units of the
    standard deviation: experts with one key would get the same tokens.
    """
    of_pair = _key_heads(inputs, parameters)
    spread = float(parameters["noise"]) * torch.stack(of_pair).std(correction=0)
    rows = list[Tensor]()
    for expert in range(int(parameters["experts"])):
        plain = of_pair[expert % len(of_pair)].flatten()
        noise = spread * stream.normal(*plain.shape)
        rows.append(plain + noise if any(torch.equal(plain, row) for row in rows) else plain)
    return torch.stack(rows)


def router_mean_keys(inputs: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """The keys of experts, a row for each: the mean over tokens of the keys that are made of tokens.

    That is what their maps make of the mean token, which is the last input. With `per_router` keys an expert's are all
    the same at first.
    """
    *matrices, mean = inputs
    keys = router_key_projections(matrices, parameters, stream).unflatten(1, (-1, len(mean))) @ mean
    return keys.repeat(1, len(_key_heads(matrices, parameters))) if parameters["per_router"] else keys


def _key_heads(inputs: Sequence[Tensor], parameters: Parameters) -> list[Tensor]:
    """For every pair of query heads their key heads, one above the other; several query heads may have one."""
    queries, keys = _heads(inputs[0], parameters, "query"), _heads(inputs[1], parameters, "key")
    return [torch.cat([keys[head * len(keys) // len(queries)] for head in pair]) for pair in pairs(queries)]


def _heads(matrix: Tensor, parameters: Parameters, which: str) -> Tensor:
    """The heads of a projection, of shape (heads, width, stream)."""
    outputs = matrix.T if parameters[f"{which}_transposed"] else matrix
    start, stride, heads = (int(parameters[f"{which}_{name}"]) for name in ("start", "stride", "heads"))
    return outputs[(start + stride * torch.arange(heads))[:, None] + torch.arange(int(parameters["width"]))]


def stacked(inputs: Sequence[Tensor], _: Parameters, __: Stream) -> Tensor:
    """The inputs, a row for each."""
    return torch.stack(list(inputs))


MAKERS: dict[str, Maker] = {
    "router_queries": router_queries,
    "router_keys": router_keys,
    "router_key_projections": router_key_projections,
    "router_mean_keys": router_mean_keys,
    "stacked": stacked,
}
"""Name in a program -> function."""

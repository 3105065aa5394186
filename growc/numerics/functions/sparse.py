"""Sparse codes of experts, and hybrids of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from growc.numerics.functions.function import Parameters, matrices
from growc.numerics.random import Stream


def sparse_code_mix(rows: Sequence[Tensor], parameters: Parameters, stream: Stream) -> Tensor:
    """((1 - `mix`) C_own + `mix` C_other) D: what a dictionary of atoms keeps of two experts, unit by unit.

    Both are coded over the same `dictionary` atoms, random vectors of length 1 in the stream.
    """
    first, second = rows
    mix, result = float(parameters["mix"]), first.clone()
    sparsity, iterations = float(parameters["sparsity"]), int(parameters["iterations"])
    for own, other in zip(matrices(result, parameters), matrices(second, parameters), strict=True):
        drawn = stream.normal(int(parameters["dictionary"]), own.shape[1])
        atoms = (drawn / drawn.norm(dim=1, keepdim=True)).to(own.device)
        codes, others = (sparse_code(x, atoms, sparsity, iterations) for x in (own, other))
        own.copy_((codes + mix * (others - codes)) @ atoms)
    return result


def sparse_code(vectors: Tensor, atoms: Tensor, sparsity: float, iterations: int) -> Tensor:
    """Codes C of `vectors` W over `atoms` D by ISTA from zero: small 1/2 |W - C D|^2 + penalty |C|_1, each row apart.

    The penalty of a vector is `sparsity` times the one from which on its code would be all zero.
    """
    against = vectors @ atoms.T
    penalty = sparsity * against.abs().amax(dim=1, keepdim=True)
    steepness = torch.linalg.matrix_norm(atoms, 2) ** 2
    atom_count, stream = atoms.shape
    gram = atoms @ atoms.T if atom_count <= 2 * stream else None  # else two products of the narrow matrix are cheaper
    codes = torch.zeros_like(against)
    for _ in range(iterations):
        explained = codes @ gram if gram is not None else codes @ atoms @ atoms.T
        moved = codes - (explained - against) / steepness
        codes = moved.sign() * (moved.abs() - penalty / steepness).clamp(min=0)
    return codes

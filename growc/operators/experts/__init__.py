"""Initialisations of the copies' expert weights: one small file each, and the union that the YAML is read by."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from growc.operators.experts.copy import Copy
from growc.operators.experts.copy_noise import CopyNoise
from growc.operators.experts.drop import Drop
from growc.operators.experts.expert_init import ExpertInit
from growc.operators.experts.interpolate import Interpolate
from growc.operators.experts.orthogonal import Orthogonal
from growc.operators.experts.random import Random
from growc.operators.experts.scaled_copy import ScaledCopy
from growc.operators.experts.shuffle import Shuffle
from growc.operators.experts.sparse_code_mix import SparseCodeMix
from growc.operators.experts.svd_mix import SvdMix
from growc.operators.experts.svd_perturb import SvdPerturb
from growc.operators.initialisation import unless_said

EXPERT_INITS: dict[str, type[ExpertInit]] = {
    "copy": Copy,
    "copy_noise": CopyNoise,
    "scaled_copy": ScaledCopy,
    "shuffle": Shuffle,
    "drop": Drop,
    "interpolate": Interpolate,
    "orthogonal": Orthogonal,
    "svd_perturb": SvdPerturb,
    "svd_mix": SvdMix,
    "sparse_code_mix": SparseCodeMix,
    "random": Random,
}
"""Name in the YAML -> class; a new initialisation is a file, a row and a member of the union."""

Experts = Annotated[
    Copy
    | CopyNoise
    | ScaledCopy
    | Shuffle
    | Drop
    | Interpolate
    | Orthogonal
    | SvdPerturb
    | SvdMix
    | SparseCodeMix
    | Random,
    Field(discriminator="init"),
    BeforeValidator(unless_said("copy")),
]

__all__ = ["EXPERT_INITS", "Copy", "ExpertInit", "Experts", "Random", "Shuffle"]

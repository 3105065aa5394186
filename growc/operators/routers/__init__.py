"""Initialisations of the router's new rows: one small file each, and the union that the YAML is read by."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from growc.operators.initialisation import unless_said
from growc.operators.routers.adversarial import Adversarial
from growc.operators.routers.bias_only import BiasOnly
from growc.operators.routers.copy import Copy
from growc.operators.routers.copy_noise import CopyNoise
from growc.operators.routers.interpolate import Interpolate
from growc.operators.routers.orthogonal import Orthogonal
from growc.operators.routers.perturb_new_only import PerturbNewOnly
from growc.operators.routers.router_init import RouterInit
from growc.operators.routers.scaled_copy import ScaledCopy
from growc.operators.routers.split import Split
from growc.operators.routers.svd_perturb import SvdPerturb
from growc.operators.routers.temperature import Temperature

ROUTER_INITS: dict[str, type[RouterInit]] = {
    "copy": Copy,
    "copy_noise": CopyNoise,
    "interpolate": Interpolate,
    "bias_only": BiasOnly,
    "scaled_copy": ScaledCopy,
    "temperature": Temperature,
    "perturb_new_only": PerturbNewOnly,
    "orthogonal": Orthogonal,
    "adversarial": Adversarial,
    "svd_perturb": SvdPerturb,
    "split": Split,
}
"""Name in the YAML -> class; a new initialisation is a file, a row and a member of the union."""

Router = Annotated[
    Copy
    | CopyNoise
    | Interpolate
    | BiasOnly
    | ScaledCopy
    | Temperature
    | PerturbNewOnly
    | Orthogonal
    | Adversarial
    | SvdPerturb
    | Split,
    Field(discriminator="init"),
    BeforeValidator(unless_said("split")),
]

__all__ = ["ROUTER_INITS", "Copy", "CopyNoise", "Router", "RouterInit", "Split"]

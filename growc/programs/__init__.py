"""Tensor programs: what a growth step does to one tensor, as frozen data that any executor can read."""

from growc.programs.expr import (
    Add,
    Expr,
    Init,
    Late,
    Scale,
    Source,
    Std,
    Take,
    Vector,
)
from growc.programs.read import bind, describe, digest, lates, reseeded, shape, sources, squared

__all__ = [
    "Add",
    "Expr",
    "Init",
    "Late",
    "Scale",
    "Source",
    "Std",
    "Take",
    "Vector",
    "bind",
    "describe",
    "digest",
    "lates",
    "reseeded",
    "shape",
    "sources",
    "squared",
]

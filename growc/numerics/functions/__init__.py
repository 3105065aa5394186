"""The functions that programs apply to rows: each takes rows of the inputs in float64 and gives a row of the result.

What is random is drawn on the CPU from the stream that it gets. Sums are taken by one thread, so that a row has the
same bytes wherever it is computed; singular values and products of matrices only as far as the LAPACK and BLAS of two
machines agree.
"""

from __future__ import annotations

from growc.numerics.functions.function import Function
from growc.numerics.functions.orthogonal import orthogonal
from growc.numerics.functions.singular import svd_mix, svd_perturb
from growc.numerics.functions.sparse import sparse_code_mix
from growc.numerics.functions.units import drop_units, keep_units, noise_on_some, shuffle

FUNCTIONS: dict[str, Function] = {
    "drop_units": drop_units,
    "keep_units": keep_units,
    "noise_on_some": noise_on_some,
    "orthogonal": orthogonal,
    "shuffle": shuffle,
    "sparse_code_mix": sparse_code_mix,
    "svd_mix": svd_mix,
    "svd_perturb": svd_perturb,
}
"""Name in a program -> function."""

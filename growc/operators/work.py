"""How long the matrix work of an initialisation takes, told from shapes alone: seconds of one core, in float64.

The rates were measured with torch's wheels by one thread on a busy machine with AMD EPYC cores of 2023 (AVX-512), at
2048 x 7168: `benchmarks/checkpoints/matrices.py --rows 2048 --columns 7168` measures them anywhere. An idle core is up
to twice as fast; take what is told for its order of magnitude.
"""

from __future__ import annotations

SINGULAR = 2048**2 * 7168 / 10.1
"""Rows times columns times the smaller of them, per second of a singular value decomposition."""
ORTHONORMAL = 2048**2 * 7168 / 3.2
"""Length times the square of the number of vectors, per second of a QR decomposition."""
PRODUCT = 4e10
"""FLOPs per second of a matrix product."""
NARROW = 1.6e10
"""The same, where one of the two has but some dozens of columns."""
DRAWN = 8e-9
"""Seconds for a normal value."""
PASSED = 2e-9
"""Seconds for an element of a sum, a comparison or a copy."""

OVERSAMPLED = 10
"""Directions that a truncated decomposition looks at beyond those that are asked for."""
ITERATIONS = 2
"""How often it multiplies by the matrix and its transpose to tell large singular values from small ones."""


def singular(rows: int, columns: int, rank: int | None = None) -> float:
    """A decomposition into singular values and vectors: of all, or of the `rank` largest by a randomised method."""
    least = min(rows, columns)
    if rank is None or rank >= least:
        return rows * columns * least / SINGULAR
    sketch = min(rank + OVERSAMPLED, least)
    products = (2 * ITERATIONS + 2) * 2 * rows * columns * sketch / NARROW
    bases = (ITERATIONS + 1) * orthonormal(rows, sketch) + ITERATIONS * orthonormal(columns, sketch)
    return products + bases + singular(sketch, columns) + drawn(columns * sketch)


def orthonormal(length: int, vectors: int) -> float:
    """Making vectors orthonormal."""
    return length * vectors**2 / ORTHONORMAL


def product(rows: int, inner: int, columns: int) -> float:
    """A product of two matrices."""
    return 2 * rows * inner * columns / PRODUCT


def drawn(count: int) -> float:
    """Normal values."""
    return count * DRAWN


def orthogonal(count: int) -> float:
    """A random vector made orthogonal to another, and as long."""
    return drawn(count) + 12 * count * PASSED


def perturbed(rows: int, columns: int, rank: int | None) -> float:
    """Noise on singular values and vectors."""
    kept = min(rows, columns, rank or rows)
    parts = singular(rows, columns, rank) + orthonormal(rows, kept) + orthonormal(columns, kept)
    compositions = 1 if kept == min(rows, columns) else 2
    return parts + drawn((rows + columns) * kept) + compositions * product(rows, kept, columns)


def mixed(rows: int, columns: int, rank: int | None) -> float:
    """A hybrid of two matrices by their singular values and vectors."""
    kept = min(rows, columns, rank or rows)
    parts = 2 * singular(rows, columns, rank) + orthonormal(rows, kept) + orthonormal(columns, kept)
    compositions = 1 if kept == min(rows, columns) else 3
    return parts + compositions * product(rows, kept, columns)


def spoken(seconds: float) -> str:
    """A time of a core for people, in two digits: `45 s`, `12 min`, `3.4 h`, `1200 h`."""
    number, unit = next(
        (seconds / size, unit) for size, unit in ((3600, "h"), (60, "min"), (1, "s")) if seconds >= size or size == 1
    )
    return f"{float(f'{number:.2g}'):g} {unit}"


def sparse_codes(units: int, stream: int, atoms: int, iterations: int) -> float:
    """The codes of two experts' matrices over random atoms, and the decoding of their mixture."""
    gram = atoms <= 2 * stream
    step = product(units, atoms, atoms) if gram else 2 * product(units, atoms, stream)
    passes = 10 * units * atoms * PASSED
    return (
        drawn(atoms * stream)
        + 2 * (product(units, stream, atoms) + iterations * (step + passes))
        + 2 * gram * product(atoms, stream, atoms)
        + product(units, atoms, stream)
    )

"""The rates of `growc.operators.work`: `python benchmarks/checkpoints/matrices.py [--rows M] [--columns N] [--rank K]`.

Each kind of work is done by one thread in float64, as growing does it, and shown with its CPU time, the rate that this
is, and its share of what is predicted. The figures in the code are of 4096 x 14336, which takes minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from growc.numerics.functions import FUNCTIONS
from growc.numerics.random import Stream
from growc.numerics.svd import decomposed
from growc.operators import work


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--columns", type=int, default=3584)
    parser.add_argument("--rank", type=int, default=64)
    given = parser.parse_args()
    m, n, k = int(given.rows), int(given.columns), int(given.rank)
    torch.set_num_threads(1)
    matrix = torch.randn(m, n, dtype=torch.float64)
    short, tall = min(m, n), matrix if m >= n else matrix.T.contiguous()
    stream = Stream("work", 0)
    codes = {"dictionary": 512, "sparsity": 0.1, "mix": 0.3, "iterations": 20}
    done: dict[str, tuple[float, Callable[[], object]]] = {
        "singular values and vectors": (work.singular(m, n), lambda: decomposed(matrix, None, stream)),
        f"the {k} largest": (work.singular(m, n, k), lambda: decomposed(matrix, k, stream)),
        "orthonormal": (work.orthonormal(len(tall), short), lambda: torch.linalg.qr(tall)),
        "product": (work.product(short, len(tall), short), lambda: tall.T @ tall),
        "draws": (work.drawn(m * n), lambda: stream.normal(m, n)),
        "orthogonal": (work.orthogonal(m * n), lambda: FUNCTIONS["orthogonal"]([matrix], {}, stream)),
        "sparse codes of two": (
            work.sparse_codes(m, n, 512, 20),
            lambda: FUNCTIONS["sparse_code_mix"]([matrix, -matrix], codes, stream),
        ),
    }
    for name, (predicted, do) in done.items():
        do()
        start = time.process_time()
        do()
        taken = time.process_time() - start
        print(f"{name:28} {taken:9.3f} s, predicted {predicted:9.3f} s: {taken / predicted:.2f} of it")


if __name__ == "__main__":
    main()

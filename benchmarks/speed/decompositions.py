"""Singular values of stacks of small matrices: the library against our rotations.

    python benchmarks/speed/decompositions.py             on a GPU: results/decompositions.json
    python benchmarks/speed/decompositions.py --rehearse  anywhere: small, writes nothing

float32, compiled, calls interleaved, medians. A localised filter decomposes one matrix for each
coordinate of each run; a square-root filter one of each run. Errors are against float64. The
library is not timed where a smaller stack says that it would take more than a second.
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.shared.records import save
from benchmarks.shared.timing import interleaved_medians
from kdediff_jax.numerics import jacobi

REHEARSE = "--rehearse" in sys.argv
STACKS = (1, 4, 16, 64, 512, 4096, 20480)
SIZES = ((3, 3), (10, 10), (32, 32), (10, 40), (20, 40), (40, 40), (100, 100))
if REHEARSE:
    STACKS, SIZES = (1, 4), ((3, 8),)
LONGEST, LARGEST = 1.0, 2.0e9  # seconds of one call, bytes of one stack and its rotations


@jax.jit
@jax.vmap
def library(a):
    """Return U, s and V^T as the library finds them."""
    return jnp.linalg.svd(a, full_matrices=False)


rotations = jax.jit(jax.vmap(jacobi.jacobi_svd))


def timed(n, m, size, with_library):
    """Return a row: milliseconds of each, and the largest error of a value over the largest."""
    a = np.random.default_rng(n).normal(size=(size, n, m)).astype(np.float32)
    calls = {"rotations": rotations} | ({"library": library} if with_library else {})
    given = jnp.asarray(a)
    times = interleaved_medians({k: (lambda f=f: f(given)) for k, f in calls.items()}, repeats=3)
    exact = np.linalg.svd(a[:64].astype(float), compute_uv=False)
    row = {"n": n, "m": m, "stack": size}
    for name, function in calls.items():
        error = np.abs(np.asarray(function(given)[1])[:64] - exact) / exact[:, :1]
        row |= {f"{name}, ms": 1e3 * times[name], f"{name}, error": float(error.max())}
    if with_library:
        row["library / rotations"] = times["library"] / times["rotations"]
    return row


def main():
    """Measure, print and keep."""
    if not REHEARSE and jax.default_backend() != "gpu":
        sys.exit("There is no GPU here: --rehearse runs a small part anywhere.")
    rows = []
    for n, m in SIZES:
        single = 0.0  # seconds of one matrix, as the last stack had it
        for size in STACKS:
            if 4 * size * n * (n + m) > LARGEST:
                continue
            row = timed(n, m, size, single * size < LONGEST)
            single = row.get("library, ms", 1e3 * single * size) / 1e3 / size
            rows.append(row)
            print(row, flush=True)
        save("decompositions", {"stacks": STACKS}, {"rows": rows}, partial=REHEARSE)


if __name__ == "__main__":
    main()

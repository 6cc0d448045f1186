"""Stacks of small matrices: the library's decompositions against ours by rotations.

    python benchmarks/speed/decompositions.py             on a GPU: results/decompositions.json
    python benchmarks/speed/decompositions.py --rehearse  anywhere: small, writes nothing

float32, compiled, calls interleaved, medians. A localised filter decomposes one matrix for each
coordinate, member by measurement, of each run; other schemes one or a few of each run. The library
is not timed where a smaller stack says that it would take more than some seconds.
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
STACKS = (1, 4) if REHEARSE else (1, 4, 16, 64, 512, 4096, 20480)
SIZES = (3, 8) if REHEARSE else (3, 10, 24, 32, 40, 100)
LONGEST, LARGEST = 1.0, 2.0e9  # seconds of one call, bytes of one stack and its rotations


def library_svd(a):
    """Return U, s and V^T as the library finds them."""
    return jnp.linalg.svd(a, full_matrices=False)


def library_eigh(a):
    """Return eigenvalues and eigenvectors as the library finds them."""
    return tuple(jnp.linalg.eigh(a))


FUNCTIONS = {
    "svd": (library_svd, jacobi.jacobi_svd, lambda out: out[1]),
    "eigh": (library_eigh, jacobi.jacobi_eigh, lambda out: out[0]),
}


def timed(kind, n, size, with_library):
    """Return a row: seconds of each, and the largest difference of values, relative."""
    library, rotations, values = FUNCTIONS[kind]
    a = np.random.default_rng(n).normal(size=(size, n, n)).astype(np.float32)
    a = jnp.asarray(a if kind == "svd" else a + np.swapaxes(a, 1, 2))
    calls = {"rotations": jax.jit(jax.vmap(rotations))}
    if with_library:
        calls["library"] = jax.jit(jax.vmap(library))
    times = interleaved_medians({k: (lambda f=f: f(a)) for k, f in calls.items()}, repeats=3)
    row = {"kind": kind, "n": n, "stack": size} | {f"{k}, ms": 1e3 * t for k, t in times.items()}
    if with_library:
        found, wanted = (np.asarray(values(f(a))) for f in calls.values())
        row["library / rotations"] = times["library"] / times["rotations"]
        scale = np.abs(wanted).max(axis=1, keepdims=True)
        row["difference"] = float((np.abs(found - wanted) / scale).max())
    return row


def main():
    """Measure, print and keep."""
    if not REHEARSE and jax.default_backend() != "gpu":
        sys.exit("There is no GPU here: --rehearse runs a small part anywhere.")
    rows = []
    for kind in FUNCTIONS:
        for n in SIZES:
            single = 0.0  # seconds of one matrix, as the last stack had it
            for size in STACKS:
                if 4 * size * n * 4 * n > LARGEST:
                    continue
                row = timed(kind, n, size, single * size < LONGEST)
                single = row.get("library, ms", 1e3 * single * size) / 1e3 / size
                rows.append(row)
                print(row, flush=True)
        save("decompositions", {"stacks": STACKS}, {"rows": rows}, partial=REHEARSE)


if __name__ == "__main__":
    main()

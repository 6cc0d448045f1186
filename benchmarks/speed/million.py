"""One evaluation of the O(N^2) core at N = 1,000,000, d = 3: 10^12 pairs in O(N) memory.

    python benchmarks/speed/million.py            writes results/million.json (7 minutes, 2 cores)
    python benchmarks/speed/million.py MEMBERS    of so many, writes nothing

float32, the portable tiles, all members as queries and as centres. Memory is the peak beyond what
was held before the call: of this process on a CPU, of the device elsewhere. 64 of the queries are
checked against float64 NumPy.
"""

from __future__ import annotations

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.shared.memory import held_mib, peak_mib
from benchmarks.shared.oracle import exact
from benchmarks.shared.records import save
from kdediff_jax import pairwise

MEMBERS, DIMENSION, TAU, CHECKED = 1_000_000, 3, 0.05, 64


def error(x, mean, log_sum):
    """Return the largest errors of the mean, over its largest value, and of the log-sum."""
    x = np.asarray(x)
    rows = np.random.default_rng(0).choice(len(x), CHECKED, replace=False)
    means, sums = exact(x[rows], x, np.zeros(len(x)), TAU)
    return {
        "relative error of the mean": float(abs(mean[rows] - means).max() / abs(means).max()),
        "error of the log-sum": float(abs(log_sum[rows] - sums).max()),
    }


def main(n):
    """Evaluate once, compiled before; print and keep what it took."""
    x = jax.block_until_ready(jax.random.normal(jax.random.key(0), (n, DIMENSION), jnp.float32))
    flat, tau = jnp.zeros(n, jnp.float32), jnp.float32(TAU)
    run = jax.jit(lambda x, b: pairwise.softmax_mean(x, x, x, b, tau))
    before = held_mib()
    compiled = run.lower(x, flat).compile()
    start = time.perf_counter()
    mean, log_sum = jax.block_until_ready(compiled(x, flat))
    seconds = time.perf_counter() - start
    body = {
        "N": n,
        "d": DIMENSION,
        "seconds": seconds,
        "ns per pair": 1e9 * seconds / n**2,
        "peak MiB beyond before": peak_mib() - before,
        "queries checked": CHECKED,
        **error(x, np.asarray(mean), np.asarray(log_sum)),
    }
    print(body)
    save("million", {"members": n, "tau": TAU}, body, partial=n != MEMBERS)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MEMBERS)

"""The O(N^2) core against its peers and the floor of the chip.

    python benchmarks/speed/kernel_weights.py    writes results/kernel_weights.json and .png

One evaluation of the softmax-weighted mean of N centres at N queries, float32, compiled, calls
interleaved, medians, each timed call after 0.1 s of untimed ones. Peers: the dense `jax.nn.softmax`
expression, and PyKeOps' LazyTensor `sumsoftmaxweight` where `pykeops` is installed (it needs a C++
compiler). Floor: exponentials and fused multiply-adds per second of this machine, on data that stay
in the cache. The tile rule is set against the best tile of a grid; memory is that of a process of
its own over what it held before. On a GPU the same script runs without PyKeOps.
"""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.shared.memory import held_mib, peak_mib, planned_mib
from benchmarks.shared.oracle import exact
from benchmarks.shared.records import OUTPUT, save
from benchmarks.shared.timing import interleaved_medians
from kdediff_jax import pairwise

SIZES = ((1024, 3), (4096, 3), (16384, 3), (1024, 20), (4096, 20), (16384, 20))
TILED = ((1024, 3), (4096, 3), (16384, 3), (4096, 10), (4096, 20), (16384, 20), (4096, 64))
ROWS, COLUMNS = (64, 128, 256, 512, 1024, 2048, 4096), (128, 256, 512, 1024, 2048, 16384)
QUERIES = 4096  # of the grid of tiles
TAU = 0.3
SETTLE = 0.1  # seconds
MEMORY_MEMBERS = 100_000
ACCURACY = ((2000, 3), (2000, 20), (2000, 100))


@jax.jit
def dense(x, c, b, tau):
    """Every pair at once, as one would write it."""
    squared = jnp.sum((x[:, None] - c[None]) ** 2, axis=-1)
    return jax.nn.softmax(b[None] - squared / (2 * tau**2), axis=1) @ c


@jax.jit
def tiled(x, c, b, tau):
    """The package's own."""
    return pairwise.softmax_mean(x, c, c, b, tau)[0]


def keops(x, c, tau):
    """Return a call of the peer on NumPy arrays, or None where it is not installed."""
    try:
        from pykeops.numpy import LazyTensor
    except ImportError:
        return None
    x, c = np.array(x), np.array(c)

    def call():
        x_i, c_j = LazyTensor(x[:, None]), LazyTensor(c[None])
        logits = -((x_i - c_j) ** 2).sum(-1) / (2 * tau**2)
        return logits.sumsoftmaxweight(c_j, axis=1)

    return call


def problem(n, d, queries=None, dtype=jnp.float32):
    """Return queries, centres, log-weights and tau."""
    x, c = (jax.random.normal(jax.random.key(k), (n, d), dtype) for k in (0, 1))
    return x[:queries], c, jnp.zeros(n, dtype), jnp.asarray(TAU, dtype)


def floor():
    """Return seconds per exponential and per fused multiply-add, by JAX itself."""
    rows = -jax.random.uniform(jax.random.key(0), (512, 8192))
    square = jax.random.normal(jax.random.key(1), (1024, 1024))
    exponentials = jax.jit(lambda x: jnp.sum(jnp.exp(x), axis=1))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    calls = {"exponential": lambda: exponentials(rows), "product": lambda: product(square)}
    seconds = interleaved_medians(calls, repeats=51)
    return {
        "nanoseconds per exponential": 1e9 * seconds["exponential"] / rows.size,
        "nanoseconds per multiply-add": 1e9 * seconds["product"] / 1024**3,
    }


def speed(n, d, least):
    """Time one evaluation by everyone."""
    args = problem(n, d)
    calls = {"tiled": lambda: tiled(*args), "dense": lambda: dense(*args)}
    peer = keops(args[0], args[1], TAU)
    if peer is not None:
        calls["pykeops"] = peer
    seconds = interleaved_medians(calls, repeats=9 if n > 10_000 else 31, settle=SETTLE)
    # per pair: an exponential, d + (d + 1) multiply-adds
    bound = least["nanoseconds per exponential"]
    bound += (2 * d + 1) * least["nanoseconds per multiply-add"]
    row = {"N": n, "d": d, "tile": pairwise.default_tile(n, n, 4)}
    row |= {f"{name}, ns per pair": 1e9 * t / n**2 for name, t in seconds.items()}
    for name in calls.keys() - {"tiled"}:
        row[f"{name} / tiled"] = seconds[name] / seconds["tiled"]
    row["share of the exponentials' floor"] = (
        least["nanoseconds per exponential"] / row["tiled, ns per pair"]
    )
    row["share of exponentials and multiply-adds"] = bound / row["tiled, ns per pair"]
    return row


def tiles(n, d):
    """Time the rule's tile against a grid of others."""
    args = problem(n, d, QUERIES)
    rule = pairwise.default_tile(min(n, QUERIES), n, 4)
    shapes = {rule} | {
        (r, c)
        for r in ROWS
        for c in COLUMNS
        if r <= min(n, QUERIES) and c <= n and 2**16 <= r * c <= 2**20
    }
    calls = {}
    for shape in sorted(shapes):
        run = jax.jit(lambda *a, tile=shape: pairwise.softmax_shift(*a, tile=tile)[0])
        calls[shape] = lambda run=run: run(*args)
    seconds = interleaved_medians(calls, repeats=7)
    best = min(seconds, key=seconds.__getitem__)
    worst = max(seconds, key=seconds.__getitem__)
    return {
        "N": n,
        "d": d,
        "rule": rule,
        "best": best,
        "worst": worst,
        "rule / best": seconds[rule] / seconds[best],
        "worst / best": seconds[worst] / seconds[best],
    }


def accuracy(n, d):
    """Return the largest error against float64 NumPy, relative to the largest mean."""
    x, c, b, tau = problem(n, d)
    tau = tau * jnp.sqrt(float(d))
    wanted, _ = exact(x, c, b, tau)
    error = np.abs(np.asarray(tiled(x, c, b, tau)) - wanted).max() / np.abs(wanted).max()
    return {"N": n, "d": d, "relative error": float(error)}


def memory_of(n, d):
    """Print the peak of this process's memory in one evaluation, compiled too, over before."""
    args = jax.block_until_ready(problem(n, d))
    before = held_mib()
    jax.block_until_ready(tiled(*args))
    print(peak_mib() - before)


def picture(body):
    """Plot time per pair against N, where matplotlib is installed."""
    try:
        import matplotlib
    except ImportError:
        print("no matplotlib: no picture")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
    for axis, d in zip(axes, (3, 20), strict=True):
        rows = [row for row in body["speed"] if row["d"] == d]
        for name, style in (("dense", "s--"), ("pykeops", "^--"), ("tiled", "o-")):
            points = [(r["N"], r.get(f"{name}, ns per pair")) for r in rows]
            if all(value is not None for _, value in points):
                axis.loglog(*zip(*points, strict=True), style, label=name)
        least = body["floor"]["nanoseconds per exponential"]
        axis.axhline(least, color="0.5", linewidth=1)
        axis.annotate("one exponential", (rows[0]["N"], least), va="bottom", color="0.4")
        axis.set(title=f"d = {d}", xlabel="members N")
    axes[0].set_ylabel("nanoseconds per pair")
    axes[0].legend(frameon=False)
    figure.savefig(OUTPUT / "kernel_weights.png", dpi=150)


def main():
    """Measure everything, print it and keep it."""
    on_cpu = jax.default_backend() == "cpu"
    least = floor()
    body = {"floor": least, "speed": [], "tiles": [], "accuracy": [accuracy(*a) for a in ACCURACY]}
    print(least, *body["accuracy"], sep="\n", flush=True)
    for n, d in SIZES:
        body["speed"].append(speed(n, d, least))
        print(body["speed"][-1], flush=True)
    for n, d in TILED:
        body["tiles"].append(tiles(n, d))
        print(body["tiles"][-1], flush=True)
    body["planned MiB"] = {
        f"N={n}": {
            "value": planned_mib(pairwise.softmax_shift, n, 3, reverse=False),
            "gradient": planned_mib(pairwise.softmax_shift, n, 3, reverse=True),
        }
        for n in (10_000, 100_000, 1_000_000)
    }
    if on_cpu:
        call = [sys.executable, __file__, "--memory"]
        found = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        body["peak MiB beyond baseline at N=100000, d=3"] = float(found.split()[-1])
    print({k: v for k, v in body.items() if "MiB" in k})
    save("kernel_weights", {"sizes": SIZES, "tau": TAU, "queries of tiles": QUERIES}, body)
    picture(body)


if __name__ == "__main__":
    if "--memory" in sys.argv:
        memory_of(MEMORY_MEMBERS, 3)
    else:
        main()

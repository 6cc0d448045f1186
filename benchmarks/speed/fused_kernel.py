"""The fused GPU kernel against the tiles, the dense expression and the floor of the chip.

    python benchmarks/speed/fused_kernel.py             on a GPU: writes results/fused_kernel.json
    python benchmarks/speed/fused_kernel.py --rehearse  anywhere: small, interpreted, writes nothing

One evaluation of the softmax-weighted mean of N centres at N queries, float32, compiled, calls
interleaved, medians. The floor is that of the chip by XLA: long chains of exponentials and of
multiply-adds in one kernel each. Errors are against float64 NumPy at some of the queries. The rule
of `fused.tile_for` is set against a grid. Memory at N = 1,000,000 is what XLA plans.
"""

from __future__ import annotations

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.shared.memory import planned_mib
from benchmarks.shared.oracle import exact
from benchmarks.shared.records import save
from benchmarks.shared.timing import interleaved_medians
from kdediff_jax import fused, pairwise

REHEARSE = "--rehearse" in sys.argv
SIZES = [(4096, 3), (16384, 3), (65536, 3), (4096, 20), (16384, 20), (65536, 20), (16384, 100)]
TILED = [(16384, 3), (16384, 20)]
ROWS, CHUNKS, SPLITS = (128, 256), (1, 2, 4, 8, 16), (0.5, 1, 2)
LARGE = 1_000_000
DENSE_UP_TO = 16384, 20  # members and coordinates; with 100 XLA compiles it for minutes
CHAIN = 256
WIDTH = 0.3  # tau over the root of d
if REHEARSE:
    SIZES, TILED, LARGE = [(300, 3), (200, 20)], [(300, 3)], 2000
    ROWS, CHUNKS, SPLITS = (128,), (1, 2), (1,)


@jax.jit
def tiled(x, c, b, tau):
    """The portable path."""
    return pairwise.softmax_mean(x, c, c, b, tau)


@jax.jit
def dense(x, c, b, tau):
    """Every pair at once, as one would write it."""
    squared = jnp.sum((x[:, None] - c[None]) ** 2, axis=-1)
    logits = b[None] - squared / (2 * tau**2)
    return jax.nn.softmax(logits, axis=1) @ c, jax.nn.logsumexp(logits, axis=1)


@functools.partial(jax.jit, static_argnames="tile")
def by_kernel(x, c, b, tau, tile=None):
    """The fused kernel, without its fallback."""
    return fused.kernel(x, c, None, b, tau, tile, REHEARSE)


def problem(n, d):
    """Return queries, centres, log-weights and tau."""
    x, c = (jax.random.normal(jax.random.key(k), (n, d), jnp.float32) for k in (0, 1))
    return x, c, jnp.zeros(n, jnp.float32), jnp.float32(WIDTH * d**0.5)


def floor():
    """Return nanoseconds per exponential and per fused multiply-add."""
    x = jax.random.uniform(jax.random.key(0), (2**10 if REHEARSE else 2**24,))

    @jax.jit
    def exponentials(x):
        for _ in range(CHAIN):
            x = jnp.exp2(-x)
        return x

    @jax.jit
    def multiply_adds(x):
        for _ in range(CHAIN):
            x = x * x + 0.1
        return x

    calls = {"exponential": lambda: exponentials(x), "multiply-add": lambda: multiply_adds(x)}
    seconds = interleaved_medians(calls, repeats=21)
    return {f"nanoseconds per {k}": 1e9 * t / (x.size * CHAIN) for k, t in seconds.items()}


def errors(found, x, c, b, tau, queries=256):
    """Return the largest error of the means and of the log-sums, each relative to the largest."""
    pairs = zip(found, exact(x[:queries], c, b, tau), strict=True)
    return [float(np.abs(np.asarray(a)[:queries] - e).max() / np.abs(e).max()) for a, e in pairs]


def speed(n, d, least):
    """Time one evaluation by everyone."""
    args = problem(n, d)
    calls = {"fused": lambda: by_kernel(*args), "tiled": lambda: tiled(*args)}
    if n <= DENSE_UP_TO[0] and d <= DENSE_UP_TO[1]:
        calls["dense"] = lambda: dense(*args)
    seconds = interleaved_medians(calls, repeats=9 if n > 20_000 else 21)
    bound = least["nanoseconds per exponential"]
    bound += (2 * d + 1) * least["nanoseconds per multiply-add"]
    row = {"N": n, "d": d, "tile": fused.tile_for(n, n, d)._asdict()}
    row |= {f"{name}, ns per pair": 1e9 * t / n**2 for name, t in seconds.items()}
    row |= {f"{name} / fused": seconds[name] / seconds["fused"] for name in list(calls)[1:]}
    row["share of exponentials and multiply-adds"] = bound / row["fused, ns per pair"]
    row["relative errors, mean and log-sum"] = errors(by_kernel(*args), *args)
    row["relative errors of the tiles"] = errors(tiled(*args), *args)
    return row


def tiles(n, d):
    """Time the rule's tile against a grid."""
    args = problem(n, d)
    rule = fused.tile_for(n, n, d)
    shapes = {rule} | {
        fused.Tile(rows, chunk, max(1, int(rule.splits * factor)))
        for rows in ROWS
        for chunk in CHUNKS
        for factor in SPLITS
    }
    calls = {tile: functools.partial(by_kernel, *args, tile=tile) for tile in sorted(shapes)}
    seconds = interleaved_medians(calls, repeats=5)
    ranked = sorted(seconds, key=seconds.__getitem__)
    return {
        "N": n,
        "d": d,
        "rule": rule,
        "best": ranked[:5],
        "best, ns per pair": [1e9 * seconds[t] / n**2 for t in ranked[:5]],
        "rule / best": seconds[rule] / seconds[ranked[0]],
    }


def keep(body):
    """Write what is measured so far: a lent GPU may be gone before the end."""
    save("fused_kernel", {"width": WIDTH, "chain": CHAIN}, body, partial=REHEARSE)


def main():
    """Measure everything, print it and keep it."""
    if not REHEARSE and not fused.works():
        sys.exit("The fused kernel does not work on this device: nothing to measure.")
    least = floor()
    print(least, flush=True)
    body = {"device": jax.devices()[0].device_kind, "floor": least, "speed": [], "tiles": []}
    for n, d in SIZES:
        body["speed"].append(speed(n, d, least))
        print(body["speed"][-1], flush=True)
        keep(body)
    args = problem(LARGE, 3)
    body["large"] = {
        "N": LARGE,
        "seconds": interleaved_medians({"one": lambda: by_kernel(*args)}, repeats=3)["one"],
        "temporaries, MiB": planned_mib(by_kernel, LARGE, 3, reverse=False),
        "temporaries of the gradient, MiB": planned_mib(by_kernel, LARGE, 3, reverse=True),
    }
    print(body["large"], flush=True)
    keep(body)
    for n, d in TILED:
        body["tiles"].append(tiles(n, d))
        print(body["tiles"][-1], flush=True)
        keep(body)


if __name__ == "__main__":
    main()

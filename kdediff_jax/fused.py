r"""A fused GPU kernel for `pairwise.softmax_mean`: distances, softmax and sums in one pass.

Each block of threads holds `rows` queries in registers and reads the centres one after the other;
all threads read the same centre, so that it comes once from the cache. A running maximum is moved
once per `chunk` centres, as in flash attention (Dao et al. 2022, arXiv 2205.14135). Few queries are
not enough blocks for a GPU: then the centres are split too, and the parts joined afterwards. Logits
are in units of log 2, because the hardware's exponential is to base two.

All arithmetic is float32 on ordinary cores, never TF32. Memory is O(n d + splits q d), where
splits q is at most `BLOCKS` blocks or q. Derivatives are those of the tiled path, O(N) memory in
both modes. Written in Pallas for its Mosaic GPU backend (Hopper and newer).

Measured on one H200 (`benchmarks/results/fused_kernel.json`): 0.9 ps a pair at d = 3, which is what
issuing its instructions takes, and 3 to 5 times the speed of the tiles with many members; slower
than them at d = 100, where a matrix product wins. Its sums are plain float32, so that the error
grows with the members, to 2e-5 of the largest value at 65,536 (the tiles: 5e-7). It is therefore no
default, and checks its numbers on the device before its first use.
"""

from __future__ import annotations

import functools
import math
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

from . import pairwise
from ._typing import Array, Float, Scalar

MOST_COORDINATES = 40  # 2.5 times the speed of the tiles at 20, half of it at 100
BLOCKS = 1024  # eight blocks for each multiprocessor of a large GPU
TOLERANCE = 1e-5
_LOG2E = math.log2(math.e)
_LOWEST = float(jnp.finfo("float32").min) / 2


class Tile(NamedTuple):
    """Queries per block of 128 threads, centres per step, parts of the centres."""

    rows: int
    chunk: int
    splits: int


def tile_for(num_queries: int, num_centres: int, d: int) -> Tile:
    """Return the tile by counting registers and blocks (no other tile has been timed).

    A thread holds two queries up to 32 coordinates, beyond it one, and spills none of its registers
    up to 64 (`benchmarks/speed/gpu_compiled.py`).
    """
    rows, room = (256, 64) if d <= 32 else (128, 100)
    chunk = max(1, min(8, room // d))
    blocks = -(-num_queries // rows)
    splits = min(max(1, BLOCKS // blocks), max(1, num_centres // 256))
    return Tile(rows, chunk, splits)


def softmax_shift(
    queries: Float[Array, "q d"],
    centres: Float[Array, "n d"],
    log_weights: Float[Array, " n"],
    tau: Float[Array, " d"] | Scalar,
) -> tuple[Float[Array, "q d"], Float[Array, " q"]]:
    """Return `pairwise.softmax_shift` of the same arguments, by the fused kernel where it works.

    Other dtypes than float32, more than 40 coordinates, and devices on which the kernel is missing
    or gives wrong numbers (one warning) take the tiled path.
    """
    suits = queries.dtype == jnp.float32 and centres.shape[1] <= MOST_COORDINATES
    if not (suits and works()):
        return pairwise.softmax_shift(queries, centres, log_weights, tau)
    mean, log_sum = kernel(queries, centres, None, log_weights, tau, None, False)
    return mean - queries, log_sum


@functools.cache
def works() -> bool:
    """Compare with NumPy in float64 on this device, once; False, with a warning, if it is off."""
    rng = np.random.default_rng(0)
    x, c, b = (rng.normal(size=shape).astype("float32") for shape in ((300, 3), (700, 3), 700))
    tau = np.float32(0.4)
    try:
        # compiled ahead, so that the check also runs while another program is traced
        run = jax.jit(lambda *arrays: kernel(*arrays[:2], None, *arrays[2:], None, False))
        got = run.lower(x, c, b, tau).compile()(x, c, b, tau)
    except Exception as error:  # a compiler's errors are of many kinds
        reason = f"it does not compile or run: {str(error).splitlines()[0][:200]}"
    else:
        squares = ((x[:, None].astype(float) - c[None]) ** 2).sum(axis=-1)
        logits = b - 0.5 * squares / float(tau) ** 2
        top = logits.max(axis=1, keepdims=True)
        weights = np.exp(logits - top)
        total = weights.sum(axis=1, keepdims=True)
        expected = weights @ c / total, (top + np.log(total))[:, 0]
        worst = max(np.abs(np.asarray(a) - e).max() for a, e in zip(got, expected, strict=True))
        if worst <= TOLERANCE * np.abs(logits).max():
            return True
        reason = f"its numbers are off by {worst:.1e}"
    warnings.warn(f"core 'fused' is not used on this device: {reason}", stacklevel=2)
    return False


@functools.partial(jax.custom_jvp, nondiff_argnums=(5, 6))
def kernel(
    queries: Float[Array, "q d"],
    centres: Float[Array, "n d"],
    values: Float[Array, "n v"] | None,
    log_weights: Float[Array, " n"],
    tau: Float[Array, " d"] | Scalar,
    tile: Tile | None,
    interpret: bool,
) -> tuple[Float[Array, "q v"], Float[Array, " q"]]:
    """Return the kernel's result without any check; `interpret` runs it on any device."""
    q, n, d = queries.shape[0], centres.shape[0], centres.shape[1]
    tile = tile or tile_for(q, n, d)
    part = -(-n // (tile.splits * tile.chunk)) * tile.chunk  # centres of a part, whole chunks
    columns = jnp.pad(queries.T, [(0, 0), (0, -q % tile.rows)])
    # the values may be the centres themselves, which are then read once
    carried = [] if values is None else [values]
    table = jnp.concatenate([centres, log_weights[:, None] * _LOG2E, *carried], axis=1)
    # whole vectors of four in a row: the hardware loads them at once
    missing = [(0, tile.splits * part - n), (0, -table.shape[1] % 4)]
    table = jnp.pad(table, missing).at[n:, d].set(-math.inf)
    scales = (0.5 * _LOG2E) / jnp.asarray(tau).reshape(-1) ** 2  # one, or one per coordinate
    # where in a row the values start, and how many they are
    start, width = (0, d) if values is None else (d + 1, values.shape[1])
    tops, sums = _launch(columns, table, scales, (start, width), tile, interpret)
    return _joined(tops[:, :q], sums[:, :, :q])


@kernel.defjvp
def _kernel_jvp(tile, interpret, primals, tangents):
    def tiled(queries, centres, values, log_weights, tau):
        carried = centres if values is None else values
        return pairwise.softmax_mean(queries, centres, carried, log_weights, tau)

    return kernel(*primals, tile, interpret), jax.jvp(tiled, primals, tangents)[1]


def _launch(
    columns: Float[Array, "d q"],
    table: Float[Array, "n k"],
    scales: Float[Array, " s"],
    carried: tuple[int, int],
    tile: Tile,
    interpret: bool,
) -> tuple[Array, Array]:
    """Return for each part and query the maximum [s q] and, below it, the sums [s w q]."""
    (d, q), n, width = columns.shape, table.shape[0], carried[1]
    body = functools.partial(_body, tile=tile, part=n // tile.splits, d=d, carried=carried)
    shapes = (tile.splits, q), (tile.splits, width + 1, q)
    out = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    grid = q // tile.rows, tile.splits
    if interpret:
        run = pl.pallas_call(
            lambda *refs: body(pl.program_id(0), pl.program_id(1), *refs),
            grid=grid,
            out_shape=out,
            interpret=True,
        )
    else:
        from jax.experimental.pallas import mosaic_gpu as plgpu  # loads compiler bindings

        run = plgpu.kernel(
            lambda *refs: body(lax.axis_index("block"), lax.axis_index("part"), *refs),
            out_type=out,
            grid=grid,
            grid_names=("block", "part"),
            # the hardware's own exponential, 2 units in the last place
            compiler_params=plgpu.CompilerParams(approx_math=True),
        )
    tops, sums = run(columns, table, scales)
    return tops, sums


def _body(block, split, x_ref, table, scales, top_ref, sum_ref, *, tile, part, d, carried):
    """Reduce one part of the centres for one block of queries; everything stays in registers."""
    mine = pl.ds(block * tile.rows, tile.rows)
    start, width = carried
    x = [x_ref[j, mine] for j in range(d)]
    scale = [scales[j] for j in range(scales.shape[0])]
    zero = 0 * x[0]  # laid out over the threads as the queries are, as a constant is not

    def step(k, carry):
        top, sums = carry
        first = split * part + k * tile.chunk
        logits = []
        for i in range(tile.chunk):
            # scaled after the difference: before, rounding grows with |x| / tau
            squares = [(x[j] - table[first + i, j]) ** 2 for j in range(d)]
            if len(scale) == 1:  # one instruction less per coordinate
                squares = [functools.reduce(jnp.add, squares)]
            logit = table[first + i, d]
            for own, square in zip(scale, squares, strict=True):
                logit = logit - own * square
            logits.append(logit)
        new_top = functools.reduce(jnp.maximum, logits, top)
        shrink = jnp.exp2(top - new_top)
        sums = [s * shrink for s in sums]
        for i, logit in enumerate(logits):
            p = jnp.exp2(logit - new_top)
            for j in range(width):
                sums[j] = sums[j] + p * table[first + i, start + j]
            sums[width] = sums[width] + p
        return new_top, sums

    top, sums = lax.fori_loop(0, part // tile.chunk, step, (zero + _LOWEST, [zero] * (width + 1)))
    top_ref[split, mine] = top
    for j in range(width + 1):
        sum_ref[split, j, mine] = sums[j]


def _joined(
    tops: Float[Array, "s q"], sums: Float[Array, "s w q"]
) -> tuple[Float[Array, "q v"], Float[Array, " q"]]:
    """Return mean and log-sum of the parts together."""
    top = jnp.max(tops, axis=0)
    total = jnp.sum(sums * jnp.exp2(tops - top[None])[:, None], axis=0)
    return (total[:-1] / total[-1:]).T, (top + jnp.log2(total[-1])) / _LOG2E

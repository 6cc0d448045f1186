r"""Pairwise sums over an ensemble: the only O(N²) code of the package.

For queries x_q and centres c_i with log-weights b_i and coordinate scales tau_j,

    l_qi = b_i - 1/2 sum_j ((x_qj - c_ij) / tau_j)^2,
    mean_q = sum_i softmax_i(l_qi) v_i,  shift_q = mean_q - x_q (v_i = c_i),
    log_sum_q = logsumexp_i(l_qi).

This is attention with a distance kernel. It is evaluated tile by tile with a running maximum
(Milakov and Gimelshein 2018, arXiv 1805.02867), so that memory is O(N tile) and no N x N array
exists, in the forward pass and in both directions of differentiation.

Accuracy: callers centre the data first. Up to `DIFFERENCES_UP_TO` coordinates distances come from
differences, whose rounding error is relative to the distance; above, from one product at full
float precision (never TF32), whose error is about eps * |x|^2 / tau^2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ._checks import count
from ._typing import Array, Float, Scalar
from .numerics import dot, safe_sqrt

DIFFERENCES_UP_TO = 16


def default_tile(num_queries: int, num_centres: int, itemsize: int) -> tuple[int, int]:
    """Return (query tile, centre tile) for the default device.

    CPU: 2048 queries where there are as many, and 4 MiB of logits (the caches of two cores), 2 MiB
    for up to 1024 queries. GPU: 64 MiB, enough to fill the device.
    `benchmarks/speed/kernel_weights.py` measures the rule against the best tile of a grid (CPU
    only so far).
    """
    rows = _even_split(num_queries, 2048)
    budget = 2**26
    if jax.default_backend() == "cpu":
        # at N = 1000 one tile, which no scan slices, can take twice as long as two
        budget = 2**22 if rows > 1024 else 2**21
    return rows, _even_split(num_centres, max(budget // (itemsize * rows), 64))


def softmax_shift(
    queries: Float[Array, "q d"],
    centres: Float[Array, "n d"],
    log_weights: Float[Array, " n"],
    tau: Float[Array, " d"] | Scalar,
    *,
    tile: tuple[int, int] | None = None,
) -> tuple[Float[Array, "q d"], Float[Array, " q"]]:
    """Return the softmax-weighted mean of the centres minus the query, and the log-sum.

    Args:
        queries: points x, centred by the caller.
        centres: kernel centres c_i, centred the same way; finite.
        log_weights: b_i; -inf switches a centre off.
        tau: kernel width, one number or one per coordinate.
        tile: (query rows, centre rows) of a tile; None chooses for the device.

    Returns:
        shift [q d] in the state's units and log_sum [q] (no normalising constant).

    Raises:
        ValueError: a tile below one.
    """
    mean, log_sum = softmax_mean(queries, centres, centres, log_weights, tau, tile=tile)
    return mean - queries, log_sum


def softmax_mean(
    queries: Float[Array, "q d"],
    centres: Float[Array, "n d"],
    values: Float[Array, "n v"],
    log_weights: Float[Array, " n"],
    tau: Float[Array, " d"] | Scalar,
    *,
    tile: tuple[int, int] | None = None,
) -> tuple[Float[Array, "q v"], Float[Array, " q"]]:
    """Return the softmax-weighted mean of any values carried by the centres, and the log-sum.

    Arguments as `softmax_shift`, and `values`, one row per centre.
    """
    q, c = queries, centres
    inverse = 1 / tau
    # one common width can wait until the squares are summed
    common = 0.5 * inverse**2 if jnp.ndim(tau) == 0 else jnp.asarray(0.5, q.dtype)
    each = None if jnp.ndim(tau) == 0 else inverse

    def reduce_tile(x, block, carry):
        c_t, carried, b = block
        top, acc = carry
        logits = b[None] - common * _squared_distance(x, c_t, each)
        new_top = lax.stop_gradient(jnp.maximum(top, jnp.max(logits, axis=1)))
        p = jnp.exp(logits - new_top[:, None])
        # the column of ones in the values gives the denominator from the same product
        add = dot(p, carried)
        return new_top, acc * jnp.exp(top - new_top)[:, None] + add

    def finish(x, carry):
        top, acc = carry
        total = acc[:, -1]
        return acc[:, :-1] / total[:, None], top + jnp.log(total)

    lowest = jnp.finfo(q.dtype).min / 2  # finite, so that a tile of masked centres gives no NaN
    width = values.shape[1] + 1

    def start(x):
        rows = x.shape[0]
        return jnp.full((rows,), lowest, q.dtype), jnp.zeros((rows, width), q.dtype)

    rows, cols = _tiles(q, c, tile)
    blocks = _blocks(c, values, log_weights, cols)
    return _scan_tiles(q, blocks, rows, start, reduce_tile, finish)


def gaussian_cdf(
    points: Float[Array, " q"],
    centres: Float[Array, " n"],
    weights: Float[Array, " n"],
    width: Scalar,
    *,
    tile: tuple[int, int] | None = None,
) -> Float[Array, " q"]:
    """Return sum_i w_i Phi((x_q - c_i) / width), the distribution function of a 1-d mixture.

    Args:
        points: x.
        centres: c_i.
        weights: w_i, which sum to 1.
        width: kernel width.
        tile: as in `softmax_shift`.
    """
    x, c = points[:, None], centres[:, None]
    scale = 0.5**0.5 / width

    def reduce_tile(x, block, carry):
        c_t, w, _ = block
        # erf is exact to rounding of 1; the relative digits of `ndtr` cost four times as much
        return carry + dot(0.5 + 0.5 * lax.erf((x - c_t) * scale), w[:, 0])

    rows, cols = _tiles(x, c, tile)
    blocks = _blocks(c, weights[:, None], jnp.zeros_like(centres), cols)
    return _scan_tiles(
        x, blocks, rows, lambda x: jnp.zeros(x.shape[0], x.dtype), reduce_tile, lambda _, s: s
    )


def mean_distance(
    a: Float[Array, "n d"], b: Float[Array, "m d"], *, tile: tuple[int, int] | None = None
) -> Scalar:
    """Return the mean Euclidean distance over all pairs of rows, 1/(n m) sum_ij |a_i - b_j|."""
    centre = jnp.mean(b, axis=0, keepdims=True)
    x, c = a - centre, b - centre

    def reduce_tile(x, block, carry):
        c_t, _, weight = block
        squared = _squared_distance(x, c_t)
        distance = safe_sqrt(squared)
        return carry + jnp.sum(jnp.where(weight[None] == 0, distance, 0), axis=1)

    rows, cols = _tiles(x, c, tile)
    blocks = _blocks(c, c[:, :1], jnp.zeros(c.shape[0], c.dtype), cols)
    sums = _scan_tiles(
        x, blocks, rows, lambda x: jnp.zeros(x.shape[0], x.dtype), reduce_tile, lambda _, s: s
    )
    return jnp.mean(sums) / b.shape[0]


def _squared_distance(
    x: Float[Array, "q d"], c_t: Float[Array, "d n"], inverse: Float[Array, " d"] | None = None
) -> Float[Array, "q n"]:
    """Return sum_j ((x_qj - c_jn) inverse_j)^2, by differences while d is small."""
    d = x.shape[1]
    if d <= DIFFERENCES_UP_TO:
        total = jnp.zeros((), x.dtype)
        for j in range(d):
            difference = x[:, j, None] - c_t[None, j]
            if inverse is not None:  # after the difference: before, rounding grows with |x| / tau
                difference = difference * inverse[j]
            total = total + difference * difference
    else:
        if inverse is not None:
            x, c_t = x * inverse[None], c_t * inverse[:, None]
        product = dot(x, c_t)
        norms = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(c_t * c_t, axis=0)[None]
        total = jnp.maximum(norms - 2 * product, 0)
    # the distances feed a maximum and an exponential: without the barrier XLA computes them twice
    return lax.optimization_barrier(total) if d > 4 else total


def _even_split(size: int, limit: int) -> int:
    """Return the tile that splits `size` evenly into the fewest tiles of at most `limit`."""
    parts = -(-size // limit)
    return -(-size // parts)


def _tiles(q: Array, c: Array, tile: tuple[int, int] | None) -> tuple[int, int]:
    if tile is None:
        return default_tile(q.shape[0], c.shape[0], q.dtype.itemsize)
    for name, value in zip(("tile[0]", "tile[1]"), tile, strict=True):
        count(name, value)
    return min(tile[0], q.shape[0]), min(tile[1], c.shape[0])


def _pad_rows(x: Array, tile: int, value: float = 0.0) -> Array:
    """Pad to a whole number of tiles and split: [n ...] to [tiles tile ...]."""
    extra = -x.shape[0] % tile
    padded = jnp.pad(x, [(0, extra)] + [(0, 0)] * (x.ndim - 1), constant_values=value)
    return padded.reshape(-1, tile, *x.shape[1:])


def _blocks(c: Array, values: Array, log_weights: Array, cols: int) -> tuple[Array, Array, Array]:
    """Split into tiles: centres transposed (contiguous coordinates), values and 1, log-weights."""
    tiles, carried = _pad_rows(c, cols), _pad_rows(values, cols)
    ones = jnp.ones((*tiles.shape[:2], 1), c.dtype)
    with_ones = jnp.concatenate([carried, ones], axis=2)
    lowest = float(jnp.finfo(c.dtype).min)  # as good as -inf, and 0 * lowest is 0
    finite = jnp.maximum(log_weights, lowest)
    return jnp.swapaxes(tiles, 1, 2), with_ones, _pad_rows(finite, cols, lowest)


def _own_array(c_t: Float[Array, "d n"], b: Float[Array, " n"]) -> tuple[Array, Array]:
    """Return a tile as an array of its own (CPU): a product with one.

    Fused into the distances, the index arithmetic of a scan's slice or of the transpose keeps XLA
    from vectorising them (7 times slower at d = 3 in a scan; without one 1.2 times, and 2.4 at
    d = 10), and a barrier is gone before fusion. Log-weights must be finite.
    """
    if jax.default_backend() != "cpu":
        return c_t, b
    both = jnp.concatenate([c_t, b[None]])
    both = dot(jnp.eye(both.shape[0], dtype=b.dtype), both)
    return both[:-1], both[-1]


def _scan_tiles(
    q: Array, blocks: tuple, rows: int, start: Callable, reduce_tile: Callable, finish: Callable
):
    """Run `reduce_tile` over all centre tiles for each query tile; loops only where needed."""
    # rematerialising each tile keeps reverse mode O(N tile) as well
    remat = functools.partial(jax.checkpoint, prevent_cse=False)

    def one_query_tile(x):
        if blocks[0].shape[0] == 1:
            c_t, carried, b = jax.tree.map(lambda block: block[0], blocks)
            c_t, b = _own_array(c_t, b)
            carry = reduce_tile(x, (c_t, carried, b), start(x))
        else:

            def step(carry, block):
                c_t, carried, b = block
                c_t, b = _own_array(c_t, b)
                return reduce_tile(x, (c_t, carried, b), carry), None

            carry, _ = lax.scan(remat(step), start(x), blocks)
        return finish(x, carry)

    if rows >= q.shape[0]:
        return one_query_tile(q)
    out = lax.map(remat(one_query_tile), _pad_rows(q, rows))
    return jax.tree.map(lambda o: o.reshape(-1, *o.shape[2:])[: q.shape[0]], out)

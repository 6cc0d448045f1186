r"""Singular values of many small matrices at once, by rotations: for a GPU.

Its library takes matrices with more than 32 rows or columns one after the other. The one-sided
method (Hestenes 1958; Demmel and Veselic 1992) is sums and products of whole rows: each pair of
rows of S is rotated until they are orthogonal,

    U^T S = diag(s) V^T,   U the product of the rotations,

which keeps the digits of small singular values beside large ones. All disjoint pairs turn at once,
in the order of a round-robin tournament: after n - 1 rounds each row has met every other and is
back in its place.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from .._typing import Array, Float, Scalar

SWEEPS = 20  # at most; 6 to 10 are taken


def jacobi_svd(s: Float[Array, "n m"]) -> tuple[Float[Array, "n n"], Array, Float[Array, "n m"]]:
    """Return U [n n], the singular values [n] in descending order, and U^T S [n m].

    Args:
        s: S; fewest operations where n <= m. One that is not finite gives NaN.
    """
    n, m = s.shape
    largest = jnp.max(jnp.abs(s))
    unit = jnp.where(largest > 0, largest, 1)  # squares must neither overflow nor vanish
    rows = jnp.concatenate([s / unit, jnp.eye(n, dtype=s.dtype)], axis=1)
    if n % 2:
        rows = jnp.concatenate([rows, jnp.zeros((1, n + m), s.dtype)])
    rows = _orthogonal(rows, m)[:n]
    # hundreds of rotations with a GPU's roots and quotients have made rows longer, U's too
    rows = rows / jnp.sqrt(jnp.sum(rows[:, m:] ** 2, axis=1, keepdims=True))
    values = jnp.sqrt(jnp.sum(rows[:, :m] ** 2, axis=1))
    order = jnp.argsort(-values)
    rows = rows[order] * jnp.where(jnp.isfinite(largest), 1, jnp.nan)
    return rows[:, m:].T, values[order] * unit, rows[:, :m] * unit


def _orthogonal(rows: Float[Array, "n k"], m: int) -> Float[Array, "n k"]:
    """Rotate pairs of an even number of rows until their first m entries are orthogonal."""
    tolerance = jnp.asarray(4 * jnp.finfo(rows.dtype).eps, rows.dtype)
    half = rows.shape[0] // 2

    def turn(pairs: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Scalar]:
        first, second, cosine = _rotated(*pairs, m, tolerance)
        if half > 1:  # the first row stays, all others move on by one seat round the table
            first, second = (
                jnp.concatenate([first[:1], second[:1], first[1:-1]]),
                jnp.concatenate([second[1:], first[-1:]]),
            )
        return (first, second), cosine

    def sweep(state: tuple) -> tuple:
        pairs, _, count = state
        pairs, cosines = lax.scan(turn, pairs, length=2 * half - 1)
        return pairs, jnp.max(cosines), count + 1

    def unfinished(state: tuple) -> Array:
        return (state[1] > tolerance) & (state[2] < SWEEPS)

    start = (rows[:half], rows[half:]), jnp.ones((), rows.dtype), jnp.asarray(0)
    pairs, _, _ = lax.while_loop(unfinished, sweep, start)
    return jnp.concatenate(pairs)


def _rotated(
    first: Float[Array, "h k"], second: Float[Array, "h k"], m: int, tolerance: Scalar
) -> tuple[Array, Array, Scalar]:
    """Return both rows of each pair made orthogonal, and the largest cosine there was."""
    left, right = first[:, :m], second[:, :m]
    a, b = jnp.sum(left * left, axis=1), jnp.sum(right * right, axis=1)
    product = jnp.sum(left * right, axis=1)
    # the largest entry was 1: rows this short are rounding themselves and have no direction
    known = jnp.minimum(a, b) > jnp.finfo(a.dtype).eps ** 2
    length = jnp.sqrt(jnp.where(known, a, 1)) * jnp.sqrt(jnp.where(known, b, 1))
    cosine = jnp.where(known, jnp.abs(product) / length, 0)
    turned = cosine > tolerance
    zeta = (b - a) / (2 * jnp.where(turned, product, 1))
    tangent = jnp.where(zeta < 0, -1, 1) / (jnp.abs(zeta) + jnp.sqrt(1 + zeta * zeta))
    tangent = jnp.where(turned, tangent, 0)
    c = 1 / jnp.sqrt(1 + tangent * tangent)
    sine = c * tangent
    c, sine = c[:, None], sine[:, None]
    return c * first - sine * second, sine * first + c * second, jnp.max(cosine)

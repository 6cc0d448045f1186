"""Resampling: turn weights into equally weighted indices.

Source: Douc, Cappé and Moulines 2005, "Comparison of resampling schemes for particle filtering".
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from .._checks import choice
from .._typing import Array, Float, Int, Key
from ..numerics import dot, eigh

SCHEMES = ("systematic", "stratified", "multinomial")


def resample(
    key: Key, log_weights: Float[Array, " m"], n: int, scheme: str = "systematic"
) -> Int[Array, " n"]:
    """Return n indices, index i with expected count n w_i.

    "systematic": one uniform number shifts a regular grid on the cumulative weights;
    "stratified": one uniform number per grid cell; "multinomial": n independent draws.

    Args:
        key: random key.
        log_weights: log w_i, normalised or not.
        n: number of draws.
        scheme: one of `SCHEMES`.

    Raises:
        ValueError: an unknown scheme.
    """
    choice("resampling", scheme, SCHEMES)
    weights = jax.nn.softmax(log_weights)
    # sums in another order than one after the other may fall, or rise at a weight of zero
    cumulative = lax.cummax(jnp.where(weights > 0, jnp.cumsum(weights), 0))
    cumulative = cumulative / cumulative[-1]  # rounding: the last must be exactly one
    if scheme == "multinomial":
        points = jax.random.uniform(key, (n,), weights.dtype)
    else:
        shape = () if scheme == "systematic" else (n,)
        shift = jax.random.uniform(key, shape, weights.dtype)
        points = (jnp.arange(n, dtype=weights.dtype) + shift) / n
    # side="right" never returns a member of zero weight; 1 - ulp keeps rounding inside
    points = jnp.minimum(points, 1 - jnp.finfo(weights.dtype).epsneg)
    return jnp.searchsorted(cumulative, points, side="right", method="scan")


def sort_along_principal_axis(
    ensemble: Float[Array, "m d"], log_weights: Float[Array, " m"]
) -> Int[Array, " m"]:
    """Return the order of the members along the first principal axis of the weighted ensemble.

    Low-variance draws stratify whatever the order arranges: sorted, they stratify space.
    """
    weights = jax.nn.softmax(log_weights)
    # two passes for far origins; weighted, so that a diverged member of no weight costs no digits
    centred = ensemble - dot(weights[None], ensemble)
    centred = centred - dot(weights[None], centred)
    # an order has no derivative
    centred, weights = lax.stop_gradient((centred, weights))
    _, vectors = eigh(dot((weights[:, None] * centred).T, centred))
    return jnp.argsort(dot(centred, vectors[:, -1]))

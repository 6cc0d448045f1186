r"""Keeps the mass of separate modes where the weights' change of it is sampling noise.

Weights of N members estimate the mass p = sum_i w_i 1_A(i) of a set A with a squared standard error
v = sum_i (w_i - u_i)^2 (1_A(i) - p)^2, u the equal weights that the change starts from. Inside one
mode the next forecast mixes such errors away; between separate modes nothing does. They add up from
cycle to cycle like genetic drift, until a mode that the measurements never spoke against is lost.

So the components are parted in two, weighted 2-means in standardised coordinates. Along the axis
that joins the centres a and b, the variance between over the variance within,

    I = p (1 - p) |a - b|^2 / within,

is 1.75 for a halved Gaussian, 3 for a halved uniform, and more for modes with a gap between them.
From 3 to 5 the rule fades in. Of the change delta = p - sum_i u_i 1_A(i) the part

    kept = max(0, 1 - caution v / delta^2)                     (positive-part shrinkage, Stein 1956)

stays: nothing below caution^(1/2) standard errors. Few members of one mode make a large error, so a
second witness can keep the change as well: the Gaussian log-likelihood ratio of the two clusters'
predictions, with their pooled covariance and R, for the cluster that gains. From odds of 20 to 400
it fades in. Ratios of weights inside a cluster stay as they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._linalg import cholesky, eigh, solve_lower
from .._typing import Array, Bool, Float, Scalar, like
from .gains import dot

ONE, TWO = 3.0, 5.0  # of I; an upper end of 4.5 to 7 gives the same scores
ODDS = 20.0
LEAST = 1e-6  # mass of a cluster; below, there is nothing to scale up
LLOYD = 8  # iterations of 2-means; it ends in fewer where there are two modes


class Clusters(NamedTuple):
    """Which components are in the first of two clusters, and I, how separate the two are."""

    first: Bool[Array, " n"]
    separation: Scalar


def settle(
    means: Float[Array, "n d"],
    log_weights: Float[Array, " n"],
    alive: Bool[Array, " n"],
    predicted: Float[Array, "n m"],
    y: Float[Array, " m"],
    noise: Float[Array, "m m"],
    caution: Scalar | float,
) -> Float[Array, " n"]:
    """Return the log-weights, the masses of two separate modes changed no more than is known.

    Args:
        means: of the posterior's components, finite.
        log_weights: normalised.
        alive: members of no weight are False.
        predicted: measurements of the forecast's members.
        y: the measurement; NaN components say nothing.
        noise: R, missing components cut off.
        caution: squared standard errors below which nothing of a change is kept; 0 keeps all.
    """
    weights = jnp.exp(log_weights)
    equal = alive.astype(weights.dtype) / jnp.maximum(jnp.sum(alive, dtype=weights.dtype), 1)
    first, separation = clusters(means, weights)
    inside = first.astype(weights.dtype)
    mass, before = jnp.sum(weights * inside), jnp.sum(equal * inside)
    delta = mass - before
    variance = jnp.sum(((weights - equal) * (inside - mass)) ** 2)
    changed = delta != 0
    doubt = like(weights, caution) * variance / jnp.where(changed, delta, 1) ** 2
    ratio = jnp.sign(delta) * _log_ratio(equal, first, predicted, y, noise)
    kept = jnp.maximum(jnp.clip(1 - doubt, 0, 1), jnp.clip(ratio / math.log(ODDS) - 1, 0, 1))
    gate = jnp.clip((separation - ONE) / (TWO - ONE), 0, 1)
    target = before + (1 - gate * (1 - kept)) * delta
    possible = changed & (jnp.minimum(mass, 1 - mass) > LEAST) & (before > 0) & (before < 1)

    def shift(new: Array, old: Array) -> Array:
        return jnp.log(jnp.where(possible, new / jnp.where(possible, old, 1), 1))

    change = jnp.where(first, shift(target, mass), shift(1 - target, 1 - mass))
    return jax.nn.log_softmax(log_weights + change)


def clusters(points: Float[Array, "n d"], weights: Float[Array, " n"]) -> Clusters:
    """Return weighted 2-means, started by the sign along the first principal axis."""
    points, weights = lax.stop_gradient((points, weights))  # a part does not change by a little
    x = points - jnp.sum(weights[:, None] * points, axis=0, keepdims=True)
    variance = jnp.sum(weights[:, None] * x**2, axis=0, keepdims=True)
    x = jnp.where(variance > 0, x / jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)
    _, axes = eigh(dot((weights[:, None] * x).T, x))

    def centres(first: Array) -> tuple[Array, Array]:
        return _centre(jnp.where(first, weights, 0), x), _centre(jnp.where(first, 0, weights), x)

    def lloyd(_: int, first: Array) -> Array:
        a, b = centres(first)
        return jnp.sum((x - a) ** 2, axis=1) < jnp.sum((x - b) ** 2, axis=1)

    first = lax.fori_loop(0, LLOYD, lloyd, dot(x, axes[:, -1:])[:, 0] > 0)
    a, b = centres(first)
    mass = jnp.sum(jnp.where(first, weights, 0))
    along = dot(x - jnp.where(first[:, None], a, b), (a - b).T)[:, 0]
    squared = jnp.sum((a - b) ** 2)
    within = jnp.sum(weights * along**2)  # times |a - b|^2
    tiny = jnp.finfo(x.dtype).tiny
    return Clusters(first, mass * (1 - mass) * squared**2 / jnp.maximum(within, tiny))


def _log_ratio(
    equal: Array, first: Array, predicted: Array, y: Array, noise: Array
) -> Float[Array, ""]:
    """Return the Gaussian log-likelihood of the first cluster less that of the other."""
    measured = ~jnp.isnan(y)
    predicted = jnp.where(measured[None], predicted, 0)
    a = _centre(jnp.where(first, equal, 0), predicted)
    b = _centre(jnp.where(first, 0, equal), predicted)
    within = predicted - jnp.where(first[:, None], a, b)
    root = cholesky(dot((equal[:, None] * within).T, within) + noise)
    y = jnp.where(measured, y, 0)[None]
    scaled = solve_lower(root, jnp.concatenate([y - a, y - b]).T)
    far_a, far_b = jnp.sum(scaled**2, axis=0)
    return 0.5 * (far_b - far_a)


def _centre(mass: Float[Array, " n"], x: Float[Array, "n k"]) -> Float[Array, "1 k"]:
    total = jnp.sum(mass)
    return jnp.sum(mass[:, None] * x, axis=0, keepdims=True) / jnp.where(total > 0, total, 1)

r"""Kalman gains from an ensemble: one for all members, or one for each from its neighbourhood."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import pairwise
from .._linalg import cholesky, eigh, solve, solve_lower
from .._typing import Array, Float, Scalar, like

LOCAL_UP_TO = 8  # coordinates; in more the neighbourhoods of any affordable ensemble are empty


class Covariances(NamedTuple):
    """Prior covariances: P_xh [k d m] and P_hh [k m m], with k the number of members or 1."""

    cross: Float[Array, "k d m"]
    signal: Float[Array, "k m m"]


def whole_ensemble(anomalies: Float[Array, "n d"], predicted: Float[Array, "n m"]) -> Covariances:
    """Return the sample covariances (divisor n - 1) of the whole ensemble."""
    n = anomalies.shape[0]
    return Covariances(
        (dot(anomalies.T, predicted) / (n - 1))[None], (dot(predicted.T, predicted) / (n - 1))[None]
    )


def neighbourhoods(
    whitened: Float[Array, "n d"],
    root: Float[Array, "d d"],
    predicted: Float[Array, "n m"],
    width: Scalar,
) -> Covariances:
    r"""Return the covariances around every member: two modes get a gain each.

    In coordinates z of unit covariance, with Gaussian weights of the width given, the covariance
    C_i around member i and the slope of h on z there are attention-weighted sums. The weights
    narrow what they see: for a Gaussian prior C = (P^{-1} + 1/width^2)^{-1}, and so its eigenvalues
    c are widened back to c / (1 - c / width^2), at most to 1, the whole ensemble's. Where fewer
    than d + 1 members are near, the whole ensemble's covariance and slope are taken, and near that
    a mean of both (of the logarithms of the variances).

    Args:
        whitened: members z_i of zero mean and unit covariance.
        root: x anomalies are `whitened @ root.T`.
        predicted: anomalies of the noise-free predictions.
        width: of the neighbourhood, in units of the ensemble's spread.
    """
    n, d = whitened.shape
    m = predicted.shape[1]
    upper = np.triu_indices(d)
    products = whitened[:, upper[0]] * whitened[:, upper[1]]
    crossed = (whitened[:, :, None] * predicted[:, None, :]).reshape(n, d * m)
    values = jnp.concatenate([whitened, products, predicted, crossed], axis=1)
    flat = jnp.zeros(n, whitened.dtype)
    means, log_sum = pairwise.softmax_mean(whitened, whitened, values, flat, width)
    # sum k and sum k^2, k being a Gaussian of the distance: the square is a narrower Gaussian
    _, log_squares = pairwise.softmax_shift(whitened, whitened, flat, width / 2**0.5)
    members = jnp.exp(2 * log_sum - log_squares)
    z, zz, h, zh = jnp.split(means, np.cumsum([d, len(upper[0]), m]), axis=1)
    bias = 1 / (1 - 1 / jnp.maximum(members, 1.5))
    square = jnp.zeros((n, d, d), z.dtype).at[:, upper[0], upper[1]].set(zz)
    square = square.at[:, upper[1], upper[0]].set(zz)
    near = bias[:, None, None] * (square - z[:, :, None] * z[:, None, :])
    cross = bias[:, None, None] * (zh.reshape(n, d, m) - z[:, :, None] * h[:, None, :])
    tiny = 1e-3 * jnp.minimum(width**2, 1)
    slope = jnp.swapaxes(solve(near + tiny * jnp.eye(d, dtype=z.dtype)[None], cross), 1, 2)
    values, vectors = eigh(near)
    values = jnp.maximum(values, jnp.finfo(z.dtype).eps)
    rest = 1 - values / width**2
    wide = jnp.where(rest > values, values / jnp.maximum(rest, tiny), 1)
    blend = jnp.where(members < d + 1, 1, (d + 1) / (members + d + 1))[:, None]
    wide = jnp.minimum(wide, 1) ** (1 - blend)
    overall = dot(predicted.T, whitened) / (n - 1)
    slope = (1 - blend[:, :, None]) * slope + blend[:, :, None] * overall[None]
    local = dot(vectors * wide[:, None, :], jnp.swapaxes(vectors, 1, 2))
    to_predicted = dot(local, jnp.swapaxes(slope, 1, 2))
    return Covariances(dot(root[None], to_predicted), dot(slope, to_predicted))


def gain(
    covariances: Covariances, noise: Float[Array, "m m"], share: Scalar | float = 1.0
) -> Float[Array, "k d m"]:
    """Return P_xh (share P_hh + R)^{-1}: share times it is the gain for the noise R / share."""
    share = like(noise, share)
    s = share * covariances.signal + noise[None]
    return jnp.swapaxes(solve(s, jnp.swapaxes(covariances.cross, 1, 2)), 1, 2)


def secant(
    pull: Float[Array, "n m"],
    response: Float[Array, "n m"],
    noise: Float[Array, "m m"],
    share: Scalar | float = 1.0,
) -> Float[Array, "n 1"]:
    r"""Return the part of every member's step to take: all of it, unless it overshoots.

    With e_i the innovation of a member and r_i = h(x_i + step_i) - h(x_i) what its step does to it,
    the least |e_i - t r_i| in the metric of R^{-1} has t = <e_i, r_i> / <r_i, r_i>, cut to [0, 1].
    For linear h and a gain of one covariance r = P_hh (P_hh + R)^{-1} e, and t is 1. Where h is
    flat around a member and steep further on, a step by its slope goes beyond all reason.

    Args:
        pull: share times e_i.
        response: r_i.
        noise: R.
        share: of the likelihood.
    """
    root = cholesky(noise)
    e = solve_lower(root, pull.T)
    r = solve_lower(root, response.T)
    square = like(noise, share) * jnp.sum(r**2, axis=0)
    return part(jnp.sum(e * r, axis=0), square)[:, None]


def part(along: Array, square: Array) -> Array:
    """Return <e, r> / <r, r> cut to [0, 1]: 1 where nothing responds, 0 where r is not finite."""
    cut = jnp.clip(along / jnp.where(square > 0, square, 1), 0, 1)
    return jnp.where(square == 0, 1, jnp.where(jnp.isfinite(square), cut, 0))


def dot(a: Array, b: Array) -> Array:
    """Return the product at full precision, never TF32."""
    return jnp.matmul(a, b, precision="highest")

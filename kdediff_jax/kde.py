r"""The conditional kernel density and its closed-form score (the mathematics, callable alone).

Forecast members x_i and their predicted measurements y_i define a Gaussian kernel density of the
pair. Conditioned on a measurement y and diffused to noise level s in x only (Binder, Dasgupta and
Oberai 2026, arXiv 2603.21291, Eq. 16 and 17), with tau^2 = h_x^2 + s^2:

    p(x | y)  =  sum_i w_i N(x; x_i, tau^2),      w_i ∝ exp(-1/2 |(y - y_i) / h_y|^2),
    wbar_i(x) ∝  w_i exp(-1/2 |(x - x_i) / tau|^2),
    denoiser  m(x) = sum_i wbar_i(x) x_i,         score = (m(x) - x) / tau^2.

Bandwidths and tau are one number or one per coordinate, in the units of x and of y.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import lax
from jax.nn import log_softmax, softmax
from jax.scipy.special import logsumexp

from . import pairwise
from ._checks import ensemble, floating, per_coordinate, positive, same_members, vector
from ._typing import Array, Float, Scalar, like
from .metrics.moments import effective_sample_size
from .numerics import dot

__all__ = ["denoiser", "effective_sample_size", "log_density", "log_weights", "score"]


def log_weights(
    y: Float[Array, " m"],
    predicted: Float[Array, "n m"],
    obs_bandwidth: Float[Array, " m"] | Scalar | float,
) -> Float[Array, " n"]:
    r"""Return normalised log w_i, w_i ∝ exp(-1/2 |(y - y_i) / h_y|^2).

    A NaN component of `y` says nothing; all NaN gives equal weights. Any finite `y` gives finite
    weights: the squares are expanded about the nearest member, so that their differences keep
    their digits however far away y lies.

    Args:
        y: the measurement.
        predicted: one simulated measurement per member.
        obs_bandwidth: h_y, a number or one per component.

    Raises:
        ValueError: shapes that do not fit, or a bandwidth that is not positive.
        TypeError: a non-floating array.
    """
    predicted = ensemble("predicted", predicted, minimum=1)
    y = like(predicted, vector("y", y, predicted.shape[1]))
    positive("obs_bandwidth", obs_bandwidth)
    per_coordinate("obs_bandwidth", obs_bandwidth, predicted.shape[1])
    m = predicted.shape[1]
    h = jnp.broadcast_to(like(predicted, obs_bandwidth), (m,))[None]
    missing = jnp.isnan(y)[None]
    innovation = jnp.where(missing, 0, (jnp.where(missing, 0, y[None]) - predicted) / h)
    nearest = jnp.argmin(jnp.sum(innovation**2, axis=1))
    closest = innovation[nearest][None]
    # |e_i|^2 - |e_*|^2 = (e_i - e_*) . (e_i + e_*), with e_i - e_* = (y_* - y_i) / h free of y
    gap = jnp.where(missing, 0, (predicted[nearest][None] - predicted) / h)
    return log_softmax(-0.5 * jnp.sum(gap * (innovation + closest), axis=1))


def log_density(
    x: Float[Array, "*q d"],
    centres: Float[Array, "n d"],
    log_weights: Float[Array, " n"],
    tau: Float[Array, " d"] | Scalar | float,
) -> Float[Array, "*q"]:
    """Return log sum_i w_i N(x; x_i, tau^2); weights need not be normalised.

    Args and Raises as `denoiser`.
    """
    points, centres, width, _ = _prepare(x, centres, tau, log_weights)
    _, log_sum = pairwise.softmax_shift(points, centres, log_weights, width)
    d = centres.shape[1]
    constant = 0.5 * d * math.log(2 * math.pi) + jnp.sum(jnp.log(jnp.broadcast_to(width, (d,))))
    value = log_sum - logsumexp(log_weights) - constant
    return value.reshape(jnp.shape(x)[:-1])


def denoiser(
    x: Float[Array, "*q d"],
    centres: Float[Array, "n d"],
    log_weights: Float[Array, " n"],
    tau: Float[Array, " d"] | Scalar | float,
) -> Float[Array, "*q d"]:
    """Return m(x) = E[x_0 | x], the softmax-weighted mean of the centres.

    Args:
        x: one point [d] or points [q d].
        centres: members x_i.
        log_weights: log w_i; -inf switches a member off.
        tau: noise level, a number or one per coordinate, in the units of x.

    Raises:
        ValueError: shapes that do not fit, or tau not positive.
        TypeError: a non-floating array.
    """
    shift = _shift(x, centres, log_weights, tau)
    return like(shift, x) + shift


def score(
    x: Float[Array, "*q d"],
    centres: Float[Array, "n d"],
    log_weights: Float[Array, " n"],
    tau: Float[Array, " d"] | Scalar | float,
) -> Float[Array, "*q d"]:
    """Return grad_x log p(x) = (m(x) - x) / tau^2. Args and Raises as `denoiser`."""
    shift = _shift(x, centres, log_weights, tau)
    return shift / jnp.broadcast_to(like(shift, tau), shift.shape) ** 2


def _shift(x, centres, log_weights, tau):
    points, centred, width, shape = _prepare(x, centres, tau, log_weights)
    shift, _ = pairwise.softmax_shift(points, centred, log_weights, width)
    return shift.reshape(shape)


def _prepare(x, centres, tau, log_weights):
    """Check, and centre both clouds: a far origin must not cost digits of the distances."""
    centres, x = ensemble("centres", centres, minimum=1), floating("x", x)
    d = centres.shape[1]
    if jnp.ndim(x) not in (1, 2) or jnp.shape(x)[-1] != d:
        raise ValueError(f"x: expected shape ({d},) or (q, {d}), got {jnp.shape(x)}")
    same_members("log_weights", vector("log_weights", log_weights, what="n"), "centres", centres)
    positive("tau", tau)
    per_coordinate("tau", tau, d)
    points = like(centres, x).reshape(-1, d)
    # weighted: a diverged member of no weight must not move it. The result does not depend on it
    weights = softmax(like(centres, log_weights))
    origin = lax.stop_gradient(dot(weights[None], centres))
    return points - origin, centres - origin, like(centres, tau), jnp.shape(x)

"""Exact Kalman filter: the reference for linear-Gaussian problems."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from ._checks import ensemble, vector
from ._typing import Array, Float, like
from .dynamics.linear_gaussian import LinearGaussian
from .numerics import dot, masked_covariance, solve, split_missing


class KalmanResult(NamedTuple):
    """Exact analysis means [T d] and covariances [T d d]."""

    mean: Float[Array, "t d"]
    covariance: Float[Array, "t d d"]


def analysis(
    mean: Float[Array, " d"],
    covariance: Float[Array, "d d"],
    y: Float[Array, " m"],
    operator: Float[Array, "m d"],
    noise: Float[Array, "m m"],
) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    """Return the posterior mean and covariance of x given y = H x + e, e ~ N(0, R).

    K = P H^T (H P H^T + R)^{-1}; m + K (y - H m); (I - K H) P (I - K H)^T + K R K^T (Joseph form,
    symmetric under rounding). A NaN component of y is missing.
    """
    known, measured = split_missing(y)
    h = jnp.where(measured[:, None], operator, 0)
    r = masked_covariance(noise, measured)
    s = dot(h, covariance, h.T) + r
    gain = solve(s, dot(h, covariance)).T
    rest = jnp.eye(mean.shape[0], dtype=mean.dtype) - dot(gain, h)
    innovation = jnp.where(measured, known - dot(h, mean), 0)
    return mean + dot(gain, innovation), dot(rest, covariance, rest.T) + dot(gain, r, gain.T)


def kalman_filter(
    dynamics: LinearGaussian,
    operator: Float[Array, "m d"],
    noise: Float[Array, "m m"],
    mean: Float[Array, " d"],
    covariance: Float[Array, "d d"],
    ys: Float[Array, "t m"],
    *,
    kernel_covariance: Float[Array, "d d"] | float = 0.0,
) -> KalmanResult:
    """Return the exact filter; the first measurement comes after the first interval.

    Args:
        dynamics: A and Q.
        operator: H.
        noise: R; give R + h_y^2 I for the limit of `KDEDiffusion`.
        mean: of the initial state.
        covariance: of the initial state.
        ys: measurements; NaN is missing.
        kernel_covariance: added to every analysis covariance, h_x^2 I for `KDEDiffusion`.
    """
    ys = ensemble("ys", ys, minimum=1)
    mean = vector("mean", mean)
    a = like(mean, dynamics.matrix)
    root = dynamics.root(mean.dtype)
    extra = like(mean, kernel_covariance)
    extra = extra if extra.ndim else extra * jnp.eye(mean.shape[0], dtype=mean.dtype)

    def cycle(carry, y):
        m, p = carry
        m, p = analysis(dot(a, m), dot(a, p, a.T) + dot(root, root.T), y, operator, noise)
        # a sequence without any measurement leaves a KDE filter's ensemble alone, kernel included
        p = p + jnp.where(jnp.all(jnp.isnan(y)), 0, 1).astype(p.dtype) * extra
        return (m, p), KalmanResult(m, p)

    return lax.scan(cycle, (mean, covariance), ys)[1]

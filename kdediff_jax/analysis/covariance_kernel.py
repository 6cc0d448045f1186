r"""The covariance kernel: a Gaussian mixture between the particle filter and the Kalman filter.

With m and P the ensemble's mean and covariance, kernel covariance h^2 P and centres shrunk so that
the first two moments stay (West 1993), the measurement linearised by the ensemble itself and its
noise R kept apart from the kernel, the posterior is again a mixture with one covariance:

    a = sqrt(1 - h^2),   c_i = m + a (x_i - m),   H_i = h(c_i),
    S = h^2 P_hh + R,    G = h^2 P_xh S^{-1},     w_i ∝ N(y; H_i, S),
    means c_i + G (y - H_i),   covariance Q = h^2 P_xx - G h^2 P_hx.

h → 0 is a particle filter, h = 1 the Gaussian update. In coordinates whitened by Q it is the
isotropic mixture of `kdediff_jax.kde` with bandwidth 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .. import kde
from .._linalg import cholesky, solve_lower
from .._typing import Array, Bool, Float, Scalar, like
from ..bandwidths import moment_shrinkage
from .gains import dot
from .noise import Measurement


class Components(NamedTuple):
    """A Gaussian mixture sum_i w_i N(means_i, root root^T), root lower triangular."""

    means: Float[Array, "n d"]
    log_weights: Float[Array, " n"]
    root: Float[Array, "d d"]


def condition(
    members: Float[Array, "n d"],
    alive: Bool[Array, " n"],
    y: Float[Array, " m"],
    measurement: Measurement,
    width: Scalar | float,
    share: Scalar | float = 1.0,
) -> Components:
    """Return the mixture given y, of which `share` of the log-likelihood counts (noise R / share).

    Where the measurement's exact density is known but not Gaussian, it weighs the centres, and
    the kernel only smooths.

    Args:
        members: x_i, finite.
        alive: members of no weight are False.
        y: the measurement; NaN components say nothing.
        measurement: prediction and noise.
        width: h, in [0, 1].
        share: in [0, 1].
    """
    n = members.shape[0]
    mean = jnp.mean(members, axis=0, keepdims=True)
    anomalies = members - mean
    width, share = like(members, width), like(members, share)
    h2 = width**2
    centres = mean + moment_shrinkage(width) * anomalies
    kernel = h2 * dot(anomalies.T, anomalies) / (n - 1)
    if measurement.log_likelihood is not None:
        log_weights = share * measurement.log_likelihood(y, centres)
        log_weights = jnp.where(alive & ~jnp.isnan(log_weights), log_weights, -jnp.inf)
        means, covariance = centres, kernel
    else:
        measured = ~jnp.isnan(y)
        noise = masked_noise(measurement.covariance, measured)
        predicted = measurement.predict(members)
        predicted = predicted - jnp.mean(predicted, axis=0, keepdims=True)
        predicted = jnp.where(measured[None], predicted, 0)
        signal = h2 * dot(predicted.T, predicted) / (n - 1)
        cross = h2 * dot(anomalies.T, predicted) / (n - 1)
        root = cholesky(share * signal + noise)
        known = jnp.where(measured, y, 0)[None]
        innovation = jnp.where(measured[None], known - measurement.predict(centres), 0)
        scaled = solve_lower(root, innovation.T).T
        # the same expansion about the nearest member as in the product kernel, for a far y
        log_weights = kde.log_weights(
            jnp.zeros(scaled.shape[1], scaled.dtype), jnp.sqrt(share) * scaled, 1.0
        )
        log_weights = jnp.where(alive, log_weights, -jnp.inf)
        half = solve_lower(root, cross.T)  # S^{-1/2} h^2 P_hx
        means = centres + share * dot(scaled, half)
        covariance = kernel - share * dot(half.T, half)
    return Components(means, jax.nn.log_softmax(log_weights), floored_root(shrunk(covariance, n)))


def masked_noise(noise: Float[Array, "m m"], measured: Bool[Array, " m"]) -> Float[Array, "m m"]:
    """Return R with missing components cut off and given unit variance."""
    both = measured[:, None] & measured[None, :]
    return jnp.where(both, noise, 0) + jnp.diag(jnp.where(measured, 0, 1).astype(noise.dtype))


def shrunk(covariance: Float[Array, "d d"], n: int) -> Float[Array, "d d"]:
    """Return the covariance shrunk towards its diagonal, so that n <= d works.

    The intensity is that of oracle approximating shrinkage (Chen, Wiesel, Eldar and Hero 2010,
    Eq. 23) for the correlation matrix, which makes it free of units.
    """
    d = covariance.shape[0]
    std = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), 0))
    safe = jnp.where(std > 0, std, 1)
    correlation = covariance / (safe[:, None] * safe[None, :])
    squares, trace = jnp.sum(correlation**2), jnp.trace(correlation)
    numerator = (1 - 2 / d) * squares + trace**2
    denominator = (n + 1 - 2 / d) * (squares - trace**2 / d)
    intensity = jnp.where(denominator > numerator, numerator / jnp.maximum(denominator, 1e-30), 1)
    intensity = intensity if d > 1 else jnp.zeros_like(intensity)
    return (1 - intensity) * covariance + intensity * jnp.diag(jnp.diagonal(covariance))


def floored_root(covariance: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Return the lower root, with a floor of rounding under constant coordinates."""
    d = covariance.shape[0]
    variance = jnp.maximum(jnp.diagonal(covariance), 0)
    largest = jnp.max(variance)
    eps = jnp.finfo(covariance.dtype).eps
    floor = 4 * d * eps * variance + eps**2 * largest + jnp.finfo(covariance.dtype).tiny / eps
    std = jnp.sqrt(variance + floor)
    correlation = covariance / (std[:, None] * std[None, :])
    correlation = correlation + 8 * d * eps * jnp.eye(d, dtype=covariance.dtype)
    return std[:, None] * cholesky(correlation)

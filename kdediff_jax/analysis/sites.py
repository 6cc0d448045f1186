r"""What a measurement of known density says to a Kalman gain: a Gaussian site per component.

A gain knows noise by its covariance only: it follows an outlier of heavy-tailed noise too far and a
good measurement not far enough. Moment matching gives it the right numbers (assumed-density
filtering, Maybeck 1982; expectation propagation, Minka 2001). With m, P the moments of the
prediction h_k and m', V those under the weights p(y_k | x_i), the Gaussian site that takes the one
pair to the other has

    1 / R_k = 1 / V - 1 / P,      y_k - m = (m' - m) (P + R_k) / P.

Gaussian noise gives y and R back. One component at a time, in one dimension: few members suffice.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._typing import Array, Bool, Float

LEAST = 0.25  # of R: no unimodal noise in use says more than four Gaussian ones of its variance
MOST = 1e3  # of P: beyond it a measurement says nothing


def gaussian_sites(
    y: Float[Array, " m"],
    predicted: Float[Array, "n m"],
    log_components: Float[Array, "n m"],
    alive: Bool[Array, " n"],
    variance: Float[Array, " m"],
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """Return (y_k, R_k) of the Gaussian sites.

    Args:
        y: the measurement; NaN components stay as they are.
        predicted: h_k(x_i).
        log_components: log p(y_k | x_i), up to a constant of each component.
        alive: members of no weight are False.
        variance: R, of the noise, which stands where the moments say nothing.
    """
    prior = alive.astype(y.dtype)[:, None] / jnp.sum(alive, dtype=y.dtype)
    weights = jax.nn.softmax(jnp.where(alive[:, None], log_components, -jnp.inf), axis=0)
    mean, spread = _moments(predicted, prior)
    moved, left = _moments(predicted, weights)
    usable = (spread > 0) & jnp.isfinite(moved) & jnp.isfinite(left)
    spread = jnp.where(usable, spread, 1)
    gained = 1 / jnp.maximum(left, jnp.finfo(y.dtype).tiny) - 1 / spread
    noise = 1 / jnp.clip(gained, 1 / (MOST * spread), 1 / (LEAST * variance))
    site = mean + (moved - mean) * (spread + noise) / spread
    return jnp.where(usable & ~jnp.isnan(y), site, y), jnp.where(usable, noise, variance)


def _moments(x: Array, weights: Array) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    mean = jnp.sum(weights * x, axis=0)
    return mean, jnp.sum(weights * (x - mean[None]) ** 2, axis=0)

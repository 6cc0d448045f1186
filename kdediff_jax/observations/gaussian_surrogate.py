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

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import positive
from .._typing import Array, Bool, Float, Number, like, tunable


class GaussianSurrogate(eqx.Module):
    """Bounds of the Gaussian sites that stand for a density that is not Gaussian.

    Args:
        least_variance: of a site, as a part of the noise's variance R. No unimodal noise in use
            says more than four Gaussian ones of its variance, hence 1/4.
        most_variance: of a site, in units of the prediction's variance P: beyond it a measurement
            says nothing.

    Raises:
        ValueError: a bound that is not positive.
    """

    least_variance: Number = tunable(0.25)
    most_variance: Number = tunable(1e3)

    def __check_init__(self) -> None:
        """Check the bounds."""
        positive("least_variance", self.least_variance)
        positive("most_variance", self.most_variance)

    def __call__(
        self,
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
        equal = alive.astype(y.dtype)[:, None] / jnp.sum(alive, dtype=y.dtype)
        weights = jax.nn.softmax(jnp.where(alive[:, None], log_components, -jnp.inf), axis=0)
        prior_mean, prior_variance = _moments(predicted, equal)
        mean, posterior_variance = _moments(predicted, weights)
        usable = (prior_variance > 0) & jnp.isfinite(mean) & jnp.isfinite(posterior_variance)
        prior_variance = jnp.where(usable, prior_variance, 1)
        least = 1 / (like(y, self.most_variance) * prior_variance)
        most = 1 / (like(y, self.least_variance) * variance)
        # one member alone leaves a variance of 0, whose inverse has no derivative
        narrowest = 1 / (most + 1 / prior_variance)
        precision = 1 / jnp.maximum(posterior_variance, narrowest) - 1 / prior_variance
        site_variance = 1 / jnp.clip(precision, least, most)
        pull = (prior_variance + site_variance) / prior_variance
        site = prior_mean + (mean - prior_mean) * pull
        measured = usable & ~jnp.isnan(y)
        return jnp.where(measured, site, y), jnp.where(usable, site_variance, variance)


def _moments(x: Array, weights: Array) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    mean = jnp.sum(weights * x, axis=0)
    return mean, jnp.sum(weights * (x - mean[None]) ** 2, axis=0)

r"""The weighing stage: a Gaussian mixture between the particle filter and the Kalman filter.

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

from ... import kde
from ..._typing import Array, Float, Key, Scalar, like
from ...bandwidths import moment_shrinkage
from ...ensemble.covariance import shrunk_root
from ...ensemble.gaussian_update import gaussian_update
from ...numerics import dot, safe_sqrt, solve_lower
from ...samplers import AbstractSampler
from ...samplers.base import SamplerStats
from ..predict import Predicted


class Mixture(NamedTuple):
    """A Gaussian mixture sum_i w_i N(means_i, root root^T), root lower triangular."""

    means: Float[Array, "n d"]
    log_weights: Float[Array, " n"]
    root: Float[Array, "d d"]


def particle_weights(forecast: Predicted, share: Scalar | float = 1.0) -> Float[Array, " n"]:
    """Return normalised log-weights of the members themselves, those of a particle filter.

    Args:
        forecast: members and what they predict.
        share: of the log-likelihood that counts.
    """
    return _normalised(forecast, _log_weights(forecast, share))


def weigh(forecast: Predicted, width: Scalar | float, share: Scalar | float = 1.0) -> Mixture:
    """Return the mixture given y, of which `share` of the log-likelihood counts (noise R / share).

    Where the measurement's exact density is known but not Gaussian, it weighs the centres, and
    the kernel only smooths.

    Args:
        forecast: members and what they predict.
        width: h, in [0, 1].
        share: in [0, 1].
    """
    members, n = forecast.members, forecast.members.shape[0]
    width, share = like(members, width), like(members, share)
    anomalies, deviations = (
        width * a / (n - 1) ** 0.5 for a in (forecast.anomalies, forecast.deviations)
    )
    centres = jnp.mean(members, axis=0, keepdims=True)
    centres = centres + moment_shrinkage(width) * forecast.anomalies
    centred = forecast.at(centres)

    def by_density() -> Mixture:
        log_weights = _normalised(forecast, _log_density(centred, share))
        return Mixture(centres, log_weights, shrunk_root(anomalies, n))

    def by_gain() -> Mixture:
        both = forecast.whitened(jnp.concatenate([deviations, centred.innovations]))
        seen = safe_sqrt(share) * both  # the noise R / share is 1
        update = gaussian_update(seen[:n], anomalies, seen[n:])
        log_weights = _normalised(forecast, _of_misfits(update.misfits))
        return Mixture(centres + update.steps, log_weights, shrunk_root(update.rows, n))

    return forecast.error_model.by_noise(by_gain, by_density)


def _log_weights(forecast: Predicted, share: Scalar | float) -> Float[Array, " n"]:
    """Return log-weights of the members themselves, up to a constant."""
    share = like(forecast.members, share)

    def gaussian() -> Array:
        return _of_misfits(safe_sqrt(share) * forecast.whitened(forecast.innovations))

    return forecast.error_model.by_noise(gaussian, lambda: _log_density(forecast, share))


def _log_density(forecast: Predicted, share: Scalar) -> Float[Array, " n"]:
    """Return log-weights of the members by the measurement's density."""
    log_weights = share * forecast.error_model.log_density(forecast.y, forecast.members)
    return jnp.where(jnp.isnan(log_weights), -jnp.inf, log_weights)


def _of_misfits(rows: Float[Array, "n r"]) -> Float[Array, " n"]:
    """Return Gaussian log-weights of innovations scaled to unit variance."""
    # the same expansion about the nearest member as in the product kernel, for a far y
    return kde.log_weights(jnp.zeros(rows.shape[1], rows.dtype), rows, 1.0)


def _normalised(forecast: Predicted, log_weights: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return normalised log-weights, members that take no part switched off."""
    return jax.nn.log_softmax(jnp.where(forecast.alive, log_weights, -jnp.inf))


def draw(
    key: Key, mixture: Mixture, sampler: AbstractSampler
) -> tuple[Float[Array, "n d"], SamplerStats]:
    """Return as many draws as components: whitened, the mixture has bandwidth 1 in every direction.

    Args:
        key: random key.
        mixture: to draw from.
        sampler: of isotropic mixtures.
    """
    weights = jnp.exp(mixture.log_weights)
    origin = dot(weights[None], mixture.means)
    whitened = solve_lower(mixture.root, (mixture.means - origin).T).T
    one = jnp.ones((), mixture.means.dtype)
    samples, stats = sampler(key, whitened.shape[0], whitened, mixture.log_weights, one)
    return origin + dot(samples, mixture.root.T), stats

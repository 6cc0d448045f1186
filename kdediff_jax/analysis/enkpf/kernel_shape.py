r"""Whose covariance the kernel has: the forecast's, or that of the weighted members.

`mixture.weigh` smooths with h^2 P, P the forecast's covariance. Where the weights have narrowed or
bent the posterior, that is too wide and of the wrong shape. Liu and West (2001) take the covariance
of the weighted members: with the weights of a particle filter, mu and C the weighted mean and
covariance, and k = 1.5 h,

    means mu + sqrt(1 - k^2) (x_i - mu),   covariance k^2 C,

which keeps mu and C. But the C of few members is noise, and a filter that trusts it can lose the
truth. So the two are mixed, component by component (weights by their logarithms), with the part

    lambda = min(1, 3 (d + 1) / ESS)

for the forecast's kernel: all of it where fewer effective members are left than three for each of
the d means and one for the scale.
"""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp

from ... import kde
from ..._checks import positive
from ..._typing import Array, Float, Number, Scalar, like, tunable
from ...bandwidths import moment_shrinkage
from ...ensemble.covariance import shrunk_root
from ...numerics import safe_sqrt
from ..predict import Predicted
from .mixture import Mixture, weigh


class AbstractKernelShape(eqx.Module):
    """A rule for the posterior mixture of a forecast."""

    @abc.abstractmethod
    def __call__(
        self, forecast: Predicted, weights: Float[Array, " n"], width: Scalar, share: Scalar
    ) -> Mixture:
        """Return the mixture.

        Args:
            forecast: members, moved by their Kalman share.
            weights: logarithms of its members' weights, normalised.
            width: h.
            share: of the log-likelihood that counts.
        """


class ForecastShape(AbstractKernelShape):
    """The kernel has the forecast's covariance: h = 1 is the ensemble Kalman update."""

    def __call__(
        self, forecast: Predicted, weights: Float[Array, " n"], width: Scalar, share: Scalar
    ) -> Mixture:
        """Return the mixture."""
        return weigh(forecast, width, share)


class WeightedShape(AbstractKernelShape):
    """The kernel has the weighted members' covariance, as far as they can estimate it.

    Args:
        members_per_direction: effective members for each of d + 1 directions from which on the
            weighted members have a say; infinity for `ForecastShape`.
        width_ratio: k / h, how much wider the kernel of the weighted members is.

    Raises:
        ValueError: a number that is not positive.
    """

    members_per_direction: Number = tunable(3.0)
    width_ratio: Number = tunable(1.5)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("width_ratio", self.width_ratio)
        positive("members_per_direction", self.members_per_direction, infinite=True)

    def __call__(
        self, forecast: Predicted, weights: Float[Array, " n"], width: Scalar, share: Scalar
    ) -> Mixture:
        """Return the mixture between the forecast's kernel and that of the weighted members."""
        smoothed = weigh(forecast, width, share)
        n, d = forecast.members.shape
        size = kde.effective_sample_size(weights)
        mean, rows = _weighted_moments(forecast.members, jnp.exp(weights)[:, None], size)
        wider = jnp.minimum(like(width, self.width_ratio) * width, 1)
        part = jnp.clip(like(width, self.members_per_direction) * (d + 1) / size, 0, 1)

        def between(own: Array, other: Array) -> Float[Array, "..."]:
            return (1 - part) * own + part * other

        own_means = mean + moment_shrinkage(wider) * (forecast.members - mean)
        both = safe_sqrt(1 - part) * wider * rows, safe_sqrt(part) * smoothed.root.T
        least = jnp.finfo(mean.dtype).min / 4  # finite: 0 times -inf is no number
        finite = (jnp.maximum(w, least) for w in (weights, smoothed.log_weights))
        dead = jnp.isneginf(smoothed.log_weights)
        log_weights = jax.nn.log_softmax(jnp.where(dead, -jnp.inf, between(*finite)))
        root = shrunk_root(jnp.concatenate(both), n)
        return Mixture(between(own_means, smoothed.means), log_weights, root)


def _weighted_moments(
    members: Float[Array, "n d"], weights: Float[Array, "n 1"], size: Scalar
) -> tuple[Float[Array, "1 d"], Float[Array, "n d"]]:
    """Return the mean, and rows whose product with themselves is the covariance.

    It is unbiased for as many equal weights as the effective size.
    """
    mean = jnp.sum(weights * members, axis=0, keepdims=True)
    return mean, safe_sqrt(weights / jnp.maximum(1 - 1 / size, 0.1)) * (members - mean)

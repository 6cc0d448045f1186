r"""The kernel's covariance from the weighted members, as far as they can estimate it.

`covariance_kernel.condition` smooths with h^2 P, P the forecast's covariance. Where the weights
have narrowed or bent the posterior, that is too wide and of the wrong shape. Liu and West (2001)
take the covariance of the weighted members: with the weights of a particle filter, mu and C the
weighted mean and covariance, and k = 1.5 h,

    means mu + sqrt(1 - k^2) (x_i - mu),   covariance k^2 C,

which keeps mu and C. But the C of few members is noise, and a filter that trusts it can lose the
truth. So the two are mixed, component by component (weights by their logarithms), with the part

    lambda = min(1, 3 (d + 1) / ESS)

for the forecast's kernel: all of it where fewer effective members are left than three for each of
the d means and one for the scale.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .. import kde
from .._typing import Array, Float, Scalar, like
from ..bandwidths import moment_shrinkage
from .covariance_kernel import Components, floored_root, shrunk
from .gains import dot

RATIO = 1.5  # k / h


def mix(
    smoothed: Components,
    particles: Components,
    width: Scalar | float,
    each: Scalar | float,
) -> Components:
    """Return the mixture between a forecast's kernel and the kernel of the weighted members.

    Args:
        smoothed: posterior for the width h.
        particles: posterior of the same members for a width of 0.
        width: h.
        each: effective members for each direction, 3 above.
    """
    members = particles.means
    weights = jnp.exp(particles.log_weights)[:, None]
    size = kde.effective_sample_size(particles.log_weights)
    mean = jnp.sum(weights * members, axis=0, keepdims=True)
    anomalies = members - mean
    covariance = dot((weights * anomalies).T, anomalies) / jnp.maximum(1 - 1 / size, 0.1)
    wider = RATIO * like(members, width)
    n, d = members.shape
    part = jnp.clip(like(members, each) * (d + 1) / size, 0, 1)

    def between(own: Array, other: Array) -> Float[Array, "..."]:
        return (1 - part) * own + part * other

    means = between(mean + moment_shrinkage(wider) * anomalies, smoothed.means)
    least = jnp.finfo(members.dtype).min / 4  # finite: 0 times -inf is no number
    own, other = (jnp.maximum(c.log_weights, least) for c in (particles, smoothed))
    dead = jnp.isneginf(smoothed.log_weights)
    log_weights = jnp.where(dead, -jnp.inf, between(own, other))
    covariance = between(wider**2 * covariance, dot(smoothed.root, smoothed.root.T))
    root = floored_root(shrunk(covariance, n))
    return Components(means, jax.nn.log_softmax(log_weights), root)

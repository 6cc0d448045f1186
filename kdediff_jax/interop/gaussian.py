"""A measurement as other packages state it: an operator, and a covariance of Gaussian noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from .._checks import measured, vector
from .._typing import Array, Float, Key, Scalar, like
from ..numerics import cholesky, dot, masked_covariance, row_major, solve_lower
from ..observations.additive import AbstractAdditive


class CorrelatedGaussian(AbstractAdditive):
    """y = operator(x) + e, e ~ N(0, R).

    Attributes:
        operator: x [d] -> h(x) [m].
        noise: R, positive definite.
    """

    operator: Callable[[Array], Array]
    noise: Float[Array, "m m"]
    gaussian: ClassVar[bool] = True

    def mean(self, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Return operator(x)."""
        value = row_major(measured("observation", "h(x)", self.operator(x)))
        return vector("h(x)", value, self.noise.shape[0])

    def covariance(self, m: int, dtype: jnp.dtype, t: Scalar) -> Float[Array, "m m"]:
        """Return R."""
        return jnp.asarray(self.noise, dtype)

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Draw operator(x) + e."""
        value = self.mean(x, t)
        z = jax.random.normal(key, value.shape, value.dtype)
        return value + dot(cholesky(like(value, self.noise)), z)

    def log_likelihood(self, y: Float[Array, " m"], x: Float[Array, " d"], t: Scalar) -> Scalar:
        """Return the log-density of the components that are not NaN."""
        value = self.mean(x, t)
        vector("y", y, value.shape[0])
        missing = jnp.isnan(y)
        innovation = jnp.where(missing, 0, jnp.where(missing, 0, y) - value)
        # a missing component has unit variance of its own there: it adds nothing
        root = cholesky(masked_covariance(like(value, self.noise), ~missing))
        e = solve_lower(root, innovation[:, None])[:, 0]
        count = jnp.sum(~missing, dtype=value.dtype)
        log_root = jnp.sum(jnp.log(jnp.diagonal(root)))
        return -0.5 * (dot(e, e) + count * jnp.log(2 * jnp.pi)) - log_root

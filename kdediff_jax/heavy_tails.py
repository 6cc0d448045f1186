"""Measurements with heavy-tailed additive noise: Laplace and Student-t."""

from __future__ import annotations

import abc
import math

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from ._checks import concrete, vector
from ._typing import Array, Float, Key, Number, Scalar, like, tunable
from .observations import AbstractOperatorObservation


class AbstractHeavyTailed(AbstractOperatorObservation):
    """y = operator(x) + std e, with independent e of zero mean and unit variance.

    Args:
        operator: x [d] -> h(x) [m].
        std: noise standard deviation, a number or one per component, in the units of y.

    Raises:
        ValueError: std not positive.
    """

    @abc.abstractmethod
    def noise(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Draw e."""

    @abc.abstractmethod
    def log_noise(self, e: Array) -> Array:
        """Return the log-density of e, element by element."""

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Draw operator(x) + std e."""
        value = self.mean(x, t)
        return value + like(value, self.std) * self.noise(key, value.shape, value.dtype)

    def log_likelihood(self, y: Float[Array, " m"], x: Float[Array, " d"], t: Scalar) -> Scalar:
        """Return the log-density of the components that are not NaN."""
        value = self.mean(x, t)
        vector("y", y, value.shape[0])
        std = jnp.broadcast_to(like(value, self.std), value.shape)
        missing = jnp.isnan(y)
        e = jnp.where(missing, 0, (jnp.where(missing, 0, y) - value) / std)
        return jnp.sum(jnp.where(missing, 0, self.log_noise(e) - jnp.log(std)))


class LaplaceObservation(AbstractHeavyTailed):
    """Laplace noise: log p(e) = -sqrt(2) |e| - log(2) / 2 for unit variance."""

    def noise(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Draw e."""
        return jax.random.laplace(key, shape, dtype) / 2**0.5

    def log_noise(self, e: Array) -> Array:
        """Return the log-density of e."""
        return -(2**0.5) * jnp.abs(e) - 0.5 * math.log(2)


class StudentTObservation(AbstractHeavyTailed):
    """Student-t noise of `freedom` degrees of freedom, scaled to unit variance.

    Args:
        operator, std: as above.
        freedom: degrees of freedom, more than 2.
    """

    freedom: Number = tunable(4.0)

    def __check_init__(self) -> None:
        """Check the degrees of freedom."""
        known = concrete(self.freedom)
        if known is not None and not (known > 2).all():
            raise ValueError(f"freedom: expected more than 2, got {known.tolist()}")

    def noise(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Draw e."""
        freedom = jnp.asarray(self.freedom, dtype)
        return jax.random.t(key, freedom, shape, dtype) * jnp.sqrt((freedom - 2) / freedom)

    def log_noise(self, e: Array) -> Array:
        """Return the log-density of e."""
        nu = like(e, self.freedom)
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * jnp.log(math.pi * (nu - 2))
        return constant - (nu + 1) / 2 * jnp.log1p(e**2 / (nu - 2))

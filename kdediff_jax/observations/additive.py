r"""Observations with additive noise: y = h(x) + e, E[e] = 0, Cov[e] = R.

Gaussian, Laplace and Student-t noise are one family: independent components of unit variance, times
`std`. A distribution of noise is two methods, how to draw it and its log-density.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from .._checks import concrete, measured, per_coordinate, positive, vector
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from ..numerics import normal, row_major
from .base import AbstractLikelihood


class AbstractAdditive(AbstractLikelihood):
    """y = h(x) + e with noise of zero mean and covariance R: Kalman gains use both as they are.

    A subclass also says whether e is Gaussian (`gaussian`): then h and R are all there is to know,
    and no scheme asks for the density.
    """

    gaussian: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def mean(self, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Return h(x)."""

    @abc.abstractmethod
    def covariance(self, m: int, dtype: jnp.dtype, t: Scalar) -> Any:
        """Return R [m m], its diagonal [m] where errors are independent, or its blocks [b s s].

        Blocks are those of s components each that follow each other, m = b s, independent of the
        others. R may also be a `lineax` operator. A diagonal one, a tridiagonal one and one made of
        matrices serve as such. Of any other, with the tag of a positive semidefinite operator,
        products R v are enough for `EnKF` and `ETKF`, which solve with it by conjugate gradients;
        its diagonal costs m products where it has no tag of a unit diagonal. The localised schemes
        take a diagonal, blocks or a matrix.
        """


class AbstractAdditiveNoise(AbstractAdditive):
    """y = operator(x) + std e, with independent components e of zero mean and unit variance.

    Args:
        operator: x [d] -> h(x) [m]; an `eqx.Module` or a module-level function (a fresh lambda
            compiles afresh).
        std: noise standard deviation, a number or one per component, in the units of y.

    Raises:
        ValueError: std not positive.
    """

    operator: Callable[[Array], Array]
    std: Number = tunable()

    def __check_init__(self) -> None:
        """Check the standard deviation and the operator."""
        positive("std", self.std)
        if not callable(self.operator) or isinstance(self.operator, type):
            raise TypeError(f"operator: expected a callable x -> h(x), got {self.operator!r}")

    @abc.abstractmethod
    def noise(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Draw e."""

    @abc.abstractmethod
    def log_noise(self, e: Array) -> Array:
        """Return the log-density of e, component by component."""

    def mean(self, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Return operator(x)."""
        value = row_major(measured("operator", "h(x)", self.operator(x)))
        per_coordinate("std", self.std, value.shape[0])
        return value

    def covariance(self, m: int, dtype: jnp.dtype, t: Scalar) -> Float[Array, " m"]:
        """Return std^2, the diagonal of R."""
        return jnp.broadcast_to(jnp.asarray(self.std, dtype) ** 2, (m,))

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Draw operator(x) + std e."""
        value = self.mean(x, t)
        return value + like(value, self.std) * self.noise(key, value.shape, value.dtype)

    def log_likelihood(self, y: Float[Array, " m"], x: Float[Array, " d"], t: Scalar) -> Scalar:
        """Return the log-density of the components that are not NaN."""
        return jnp.sum(self.log_components(y, x, t))

    def log_components(
        self, y: Float[Array, " m"], x: Float[Array, " d"], t: Scalar
    ) -> Float[Array, " m"]:
        """Return the log-density of every component by itself, 0 where it is NaN."""
        value = self.mean(x, t)
        vector("y", y, value.shape[0])
        std = jnp.broadcast_to(like(value, self.std), value.shape)
        missing = jnp.isnan(y)
        e = jnp.where(missing, 0, (jnp.where(missing, 0, y) - value) / std)
        return jnp.where(missing, 0, self.log_noise(e) - jnp.log(std))


class GaussianObservation(AbstractAdditiveNoise):
    """Gaussian noise, y = operator(x) + std e with e ~ N(0, I).

    Args:
        operator: x [d] -> h(x) [m]; an `eqx.Module` or a module-level function.
        std: noise standard deviation, a number or one per component, in the units of y.

    Raises:
        ValueError: std not positive.
    """

    gaussian: ClassVar[bool] = True

    def noise(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Draw e."""
        return normal(key, shape, dtype)

    def log_noise(self, e: Array) -> Array:
        """Return -e^2 / 2 - log(2 pi) / 2."""
        return -0.5 * e**2 - 0.5 * math.log(2 * math.pi)


class LaplaceObservation(AbstractAdditiveNoise):
    """Laplace noise, log p(e) = -sqrt(2) |e| - log(2) / 2 for unit variance.

    Args:
        operator: x [d] -> h(x) [m]; an `eqx.Module` or a module-level function.
        std: noise standard deviation, a number or one per component, in the units of y.

    Raises:
        ValueError: std not positive.
    """

    gaussian: ClassVar[bool] = False

    def noise(self, key: Key, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        """Draw e."""
        return jax.random.laplace(key, shape, dtype) / 2**0.5

    def log_noise(self, e: Array) -> Array:
        """Return the log-density of e."""
        return -(2**0.5) * jnp.abs(e) - 0.5 * math.log(2)


class StudentTObservation(AbstractAdditiveNoise):
    """Student-t noise of `freedom` degrees of freedom, scaled to unit variance.

    Args:
        operator: x [d] -> h(x) [m]; an `eqx.Module` or a module-level function.
        std: noise standard deviation, a number or one per component, in the units of y.
        freedom: degrees of freedom, more than 2.

    Raises:
        ValueError: std not positive, or too few degrees of freedom.
    """

    freedom: Number = tunable(4.0)
    gaussian: ClassVar[bool] = False

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

"""Observations: simulators of the measurement, with a likelihood where one is known."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from ._checks import per_coordinate, positive, vector
from ._typing import Array, Float, Key, Number, Scalar, like, tunable


class AbstractObservation(eqx.Module):
    """A simulator of the measurement, noise included: all that the diffusion filter needs."""

    @abc.abstractmethod
    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Draw y given the state x at model time t."""


class AbstractLikelihood(AbstractObservation):
    """An observation whose density is known: SIR needs it."""

    @abc.abstractmethod
    def log_likelihood(self, y: Float[Array, " m"], x: Float[Array, " d"], t: Scalar) -> Scalar:
        """Return log p(y | x); NaN components of y are missing and must say nothing."""


class AbstractAdditive(AbstractLikelihood):
    """y = h(x) + e with noise of zero mean and covariance R: Kalman gains use both as they are."""

    @abc.abstractmethod
    def mean(self, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Return h(x)."""

    @abc.abstractmethod
    def covariance(self, m: int, dtype: jnp.dtype, t: Scalar) -> Float[Array, "m m"]:
        """Return R."""


class AbstractAdditiveGaussian(AbstractAdditive):
    """y = h(x) + e with e ~ N(0, R)."""


class AbstractOperatorObservation(AbstractAdditive):
    """y = operator(x) + std e, with independent e of zero mean and unit variance.

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
        """Check the standard deviation."""
        positive("std", self.std)
        if not callable(self.operator) or isinstance(self.operator, type):
            raise TypeError(f"operator: expected a callable x -> h(x), got {self.operator!r}")

    def mean(self, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Return operator(x)."""
        value = self.operator(x)
        if jnp.ndim(value) != 1:
            raise ValueError(f"operator: expected a vector (m,), got shape {jnp.shape(value)}")
        per_coordinate("std", self.std, value.shape[0])
        return value

    def covariance(self, m: int, dtype: jnp.dtype, t: Scalar) -> Float[Array, "m m"]:
        """Return std^2 I."""
        return jnp.diag(jnp.broadcast_to(jnp.asarray(self.std, dtype) ** 2, (m,)))


class GaussianObservation(AbstractOperatorObservation, AbstractAdditiveGaussian):
    """y = operator(x) + std e, e ~ N(0, I).

    Args:
        operator: x [d] -> h(x) [m]; an `eqx.Module` or a module-level function (a fresh lambda
            compiles afresh).
        std: noise standard deviation, a number or one per component, in the units of y.

    Raises:
        ValueError: std not positive.
    """

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Draw operator(x) + std e."""
        value = self.mean(x, t)
        return value + like(value, self.std) * jax.random.normal(key, value.shape, value.dtype)

    def log_likelihood(self, y: Float[Array, " m"], x: Float[Array, " d"], t: Scalar) -> Scalar:
        """Return the Gaussian log-density of the components that are not NaN."""
        value = self.mean(x, t)
        vector("y", y, value.shape[0])
        std = jnp.broadcast_to(like(value, self.std), value.shape)
        missing = jnp.isnan(y)
        z = jnp.where(missing, 0, (jnp.where(missing, 0, y) - value) / std)
        constant = jnp.where(missing, 0, jnp.log(std) + 0.5 * math.log(2 * math.pi))
        return -jnp.sum(0.5 * z**2 + constant)


class Select(eqx.Module):
    """Operator that measures the coordinates listed.

    Args:
        indices: coordinates, counted from 0.
    """

    indices: tuple[int, ...] = eqx.field(static=True, converter=tuple)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Return the selected coordinates."""
        if max(self.indices) >= x.shape[0] or min(self.indices) < -x.shape[0]:
            raise ValueError(
                f"indices: expected coordinates below {x.shape[0]}, got {self.indices}"
            )
        return x[jnp.asarray(self.indices)]


class Linear(eqx.Module):
    """Operator x -> H x.

    Args:
        matrix: H [m d].
    """

    matrix: Number = tunable()

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Return H x."""
        return jnp.matmul(like(x, self.matrix), x, precision="highest")


def identity(x: Array) -> Array:
    """Return x: every coordinate is measured."""
    return x


def sample_ensemble(
    observation: AbstractObservation, key: Key, ensemble: Float[Array, "n d"], t: Scalar
) -> Float[Array, "n m"]:
    """Draw one measurement per member.

    Raises:
        TypeError: the observation has no `sample`.
        ValueError: `sample` does not return a vector.
    """
    if not callable(getattr(observation, "sample", None)):
        raise TypeError(
            f"observation: expected an observation with `sample`, got {type(observation).__name__}"
        )
    keys = jax.random.split(key, ensemble.shape[0])
    predicted = jax.vmap(lambda k, x: observation.sample(k, x, t))(keys, ensemble)
    if predicted.ndim != 2:
        raise ValueError(
            f"observation: expected `sample` to return a vector (m,), got {predicted.shape[1:]}"
        )
    return predicted

"""The observation protocol: a simulator of the measurement, and its density where it is known."""

from __future__ import annotations

import abc

import equinox as eqx
import jax

from .._checks import measured
from .._printing import printed
from .._typing import Array, Float, Key, Scalar
from ..numerics import row_major
from .rows import over_members


class AbstractObservation(eqx.Module):
    """A simulator of the measurement, noise included: all that the paper's filter needs."""

    def __repr__(self) -> str:
        return printed(self)

    @abc.abstractmethod
    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Draw y given the state x at model time t."""


class AbstractLikelihood(AbstractObservation):
    """An observation whose density is known: SIR needs it."""

    @abc.abstractmethod
    def log_likelihood(self, y: Float[Array, " m"], x: Float[Array, " d"], t: Scalar) -> Scalar:
        """Return log p(y | x); NaN components of y are missing and must say nothing."""


def measure(
    observation: AbstractObservation, key: Key, x: Float[Array, " d"], t: Scalar
) -> Float[Array, " m"]:
    """Call the observation's `sample` once.

    Raises:
        TypeError: `sample` returns None, a tuple or integers.
        ValueError: `sample` does not return a vector of at least one component.
    """
    return row_major(measured("observation", "`sample`", observation.sample(key, x, t)))


def sample_ensemble(
    observation: AbstractObservation, key: Key, ensemble: Float[Array, "n d"], t: Scalar
) -> Float[Array, "n m"]:
    """Draw one measurement per member.

    Raises:
        TypeError: the observation has no `sample`, or it returns None, a tuple or integers.
        ValueError: `sample` does not return a vector of at least one component.
    """
    if not callable(getattr(observation, "sample", None)):
        raise TypeError(
            f"observation: expected an observation with `sample`, got {type(observation).__name__}"
        )
    keys = jax.random.split(key, ensemble.shape[0])
    return over_members(observation, lambda o, k, x: measure(o, k, x, t))(keys, ensemble)

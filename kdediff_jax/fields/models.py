"""Models and measurements written for fields, as the filters' vectors meet them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp

from .._typing import Array, Float, Key, Scalar
from ..dynamics.base import AbstractDynamics
from ..observations.base import AbstractObservation

if TYPE_CHECKING:
    from .space import StateSpace


class FieldDynamics(AbstractDynamics):
    """A model of fields as one of vectors; made by `StateSpace.dynamics`.

    Attributes:
        space: the fields.
        wrapped: the model; it may take an interval, as any model may.
    """

    space: StateSpace
    wrapped: Any

    @property
    def interval(self) -> Scalar:
        """Model time of one step."""
        return self.wrapped.interval

    def step(
        self, key: Key, x: Float[Array, " d"], t: Scalar, **interval: Scalar
    ) -> Float[Array, " d"]:
        """Step the fields."""
        return self.space.ravel(self.wrapped.step(key, self.space.unravel(x), t, **interval))


class FieldOperator(eqx.Module):
    """An operator of fields as one of vectors: what it returns becomes one vector."""

    space: StateSpace
    function: Callable[[Any], Any]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Return h of the fields."""
        return _vector(self.function(self.space.unravel(x)))


class FieldObservation(AbstractObservation):
    """A simulator of measurements of fields as one of vectors."""

    space: StateSpace
    wrapped: Any

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Draw y given the fields."""
        return _vector(self.wrapped.sample(key, self.space.unravel(x), t))


def _vector(value: Any) -> Any:
    """Return an array of any shape as a vector; what is no array is named by the caller's check."""
    return jnp.ravel(value) if hasattr(value, "dtype") else value

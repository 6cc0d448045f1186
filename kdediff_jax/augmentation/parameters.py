"""An uncertain parameter of a model: where it starts, its bounds, how it may wander."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import concrete, positive
from .._typing import Array, Float, Key, Number, Scalar, tunable
from ..transforms import AbstractTransform, Unbounded, checked_transform


class Parameter(eqx.Module):
    """A number, or an array of them, that the filter is to find.

    Standard deviations are in the parameter's own units, as they are at the first guess; what is
    drawn is Gaussian in the unbounded coordinate.

    Args:
        guess: first guess; its shape is the parameter's.
        std: standard deviation of the initial members, a number or one per element.
        transform: bounds, see `kdediff_jax.transforms`; none by default.
        walk_std: standard deviation of an artificial random walk per interval of the model; over a
            part of one, times the root of the part. 0 for a constant: its members only come nearer
            to each other, and become too sure (`benchmarks/accuracy/parameters.py`). A walk that
            adds up to the error which matters in a hundred intervals keeps intervals honest, and
            follows a parameter that changes. A constant is for Kalman filters, such as
            `EnKPF(kalman_share=1.0)`: weights draw some members twice and others not in every
            cycle, and of a constant nothing undoes that. In `LEnKPF` it is for `LiuWest`.

    Raises:
        ValueError: a guess that is not finite or not within the bounds, a negative standard
            deviation, shapes that do not fit.
        TypeError: a transform of another kind.
    """

    guess: Number = tunable()
    std: Number = tunable()
    transform: AbstractTransform = eqx.field(default_factory=Unbounded)
    walk_std: Number = tunable(0.0, kw_only=True)

    def __check_init__(self) -> None:
        """Check what is known."""
        checked_transform("transform", self.transform)
        for name, value in (("std", self.std), ("walk_std", self.walk_std)):
            positive(name, value, zero=True)
            if jnp.shape(value) not in ((), self.shape):
                raise ValueError(
                    f"{name}: expected a number or shape {self.shape}, got {jnp.shape(value)}"
                )
        known = concrete(self.guess)
        if known is None:
            return
        if not np.issubdtype(known.dtype, np.floating) or not np.isfinite(known).all():
            raise ValueError(f"guess: expected finite numbers, got {known.tolist()}")
        self._check_bounds(known)

    def _check_bounds(self, known: np.ndarray) -> None:
        """On a bound and beyond it, a value a little further out has the same coordinate."""
        little = 1e-3 * np.maximum(np.abs(known), 1e-3)
        around = (jnp.asarray(known + k * little, known.dtype) for k in (-1, 0, 1))
        found = [concrete(self.transform.inverse(value)) for value in around]
        low, own, high = (np.nan if u is None else u for u in found)
        if (np.asarray(low >= own) | np.asarray(own >= high)).any():
            kind = type(self.transform).__name__
            raise ValueError(f"guess: expected values within {kind}, got {known.tolist()}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the parameter."""
        return jnp.shape(self.guess)

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)

    def draw(self, key: Key, n: int, dtype: jnp.dtype) -> Float[Array, "n k"]:
        """Return the coordinates of n members: the guess, and the standard deviation around it."""
        guess = jnp.asarray(self.guess, dtype)
        centre = self.transform.inverse(guess).reshape(1, self.size)
        z = jax.random.normal(key, (n, self.size), dtype)
        return centre + self._in_coordinates(self.std, dtype)[None] * z

    def away(self, number: float) -> Float[Array, "*s"]:
        """Return the value some standard deviations from the guess; with 0 the guess itself."""
        guess = jnp.asarray(self.guess)
        if number == 0:
            return guess
        moved = self.coordinates(guess) + number * self._in_coordinates(self.std, guess.dtype)
        return self.values(moved)

    def walk(self, key: Key, coordinate: Float[Array, " k"], part: Scalar) -> Float[Array, " k"]:
        """Take one step of the random walk, over a part of an interval."""
        std = self._in_coordinates(self.walk_std, coordinate.dtype) * jnp.sqrt(part)
        return coordinate + std * jax.random.normal(key, coordinate.shape, coordinate.dtype)

    def values(self, coordinate: Float[Array, " k"]) -> Float[Array, "*s"]:
        """Return the parameter of its coordinates."""
        return self.transform.forward(coordinate.reshape(self.shape))

    def coordinates(self, value: Float[Array, "*s"]) -> Float[Array, " k"]:
        """Return the coordinates of a parameter."""
        return self.transform.inverse(value).reshape(self.size)

    def _in_coordinates(self, std: Number, dtype: jnp.dtype) -> Float[Array, " k"]:
        """Return a standard deviation over the slope of the transform at the guess."""
        centre = self.transform.inverse(jnp.asarray(self.guess, dtype))
        _, slope = jax.jvp(self.transform.forward, (centre,), (jnp.ones_like(centre),))
        return (jnp.asarray(std, dtype) / slope).reshape(self.size)

"""Observation operators h: what of the state is measured."""

from __future__ import annotations

import operator
from collections.abc import Iterable

import equinox as eqx
import jax.numpy as jnp

from .._typing import Array, Float, Number, like, tunable
from ..numerics import dot


def _as_indices(indices: Iterable[int]) -> tuple[int, ...]:
    """Return any sequence of integers, NumPy's and JAX's included, as a tuple of ints."""
    try:
        found = tuple(operator.index(i) for i in indices)
    except TypeError as error:
        raise TypeError(f"indices: expected a sequence of integers, got {indices!r}") from error
    if not found:
        raise ValueError("indices: expected at least one coordinate, got none")
    return found


class Identity(eqx.Module):
    """Operator that measures every coordinate, h(x) = x."""

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return x."""
        return x


class Select(eqx.Module):
    """Operator that measures the coordinates listed, h(x)_k = x[indices_k].

    Args:
        indices: coordinates counted from 0, or from the end where negative: a list, tuple, range,
            NumPy or JAX array.

    Raises:
        TypeError: something other than a sequence of integers.
        ValueError: an empty sequence, or (when called) a coordinate that the state does not have.
    """

    indices: tuple[int, ...] = eqx.field(static=True, converter=_as_indices)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Return the selected coordinates."""
        if max(self.indices) >= x.shape[0] or min(self.indices) < -x.shape[0]:
            raise ValueError(
                f"indices: expected coordinates below {x.shape[0]}, got {self.indices}"
            )
        return x[jnp.asarray(self.indices)]


class Linear(eqx.Module):
    """Operator h(x) = H x.

    Args:
        matrix: H [m d].
    """

    matrix: Number = tunable()

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Return H x."""
        return dot(like(x, self.matrix), x)

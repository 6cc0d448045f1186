"""Bandwidth rules: kernel widths from the ensemble itself, inside the compiled cycle."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ._checks import per_coordinate, positive
from ._typing import Array, Float, Number, like, tunable


class AbstractBandwidth(eqx.Module):
    """A rule that takes the place of a number wherever a bandwidth is asked for."""

    @abc.abstractmethod
    def __call__(self, data: Float[Array, "n d"]) -> Float[Array, " d"]:
        """Return one bandwidth per coordinate of the equally weighted data."""


class Silverman(AbstractBandwidth):
    """h_j = factor (4 / ((d + 2) n))^(1 / (d + 4)) std_j (Silverman 1986, Eq. 4.14).

    Optimal for Gaussian data at factor 1; a clearly multimodal density wants less.
    """

    factor: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the factor."""
        positive("factor", self.factor)

    def __call__(self, data: Float[Array, "n d"]) -> Float[Array, " d"]:
        """Return the bandwidths."""
        n, d = data.shape
        return like(data, self.factor) * silverman(n, d) * _std(data)


class Scott(AbstractBandwidth):
    """h_j = factor n^(-1 / (d + 4)) std_j (Scott 1992, Eq. 6.42)."""

    factor: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the factor."""
        positive("factor", self.factor)

    def __call__(self, data: Float[Array, "n d"]) -> Float[Array, " d"]:
        """Return the bandwidths."""
        n, d = data.shape
        return like(data, self.factor) * n ** (-1 / (d + 4)) * _std(data)


def silverman(n: int, d: int) -> float:
    """Return Silverman's width for n draws of N(0, I) in d dimensions."""
    return (4 / ((d + 2) * n)) ** (1 / (d + 4))


def resolve(bandwidth: Any, data: Float[Array, "n d"], name: str) -> Array:
    """Return a bandwidth as an array: a number, one per coordinate, or what a rule says."""
    if isinstance(bandwidth, AbstractBandwidth):
        return bandwidth(data)
    per_coordinate(name, bandwidth, data.shape[1])
    return like(data, bandwidth)


def _std(data: Float[Array, "n d"]) -> Float[Array, " d"]:
    variance = jnp.var(data, axis=0, ddof=1)
    # no square root of zero: its gradient is infinite
    none = variance == 0
    std = jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, variance)))
    # a constant coordinate still needs a positive width: rounding of the largest one, or of 1
    eps = jnp.finfo(data.dtype).eps
    return jnp.maximum(std, eps * jnp.where(jnp.max(std) > 0, jnp.max(std), 1))

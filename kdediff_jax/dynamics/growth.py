"""The univariate nonstationary growth model, the classic test of particle filters."""

from __future__ import annotations

import jax.numpy as jnp

from .._checks import positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from .base import AbstractDynamics
from .integrators import add_noise


class GrowthModel(AbstractDynamics):
    """x' = x / 2 + 25 x / (1 + x^2) + 8 cos(1.2 t) + noise_std z, z ~ N(0, 1).

    Sources: Gordon, Salmond and Smith 1993, IEE Proc. F 140; Kitagawa 1996, J. Comput. Graph.
    Statist. 5. t is the time at the interval's start, as in the former. Where x^2 is measured, the
    sign of x follows from the dynamics alone. Several coordinates do not interact.

    Args:
        noise_std: standard deviation per interval.
        interval: model time per assimilation interval.
    """

    noise_std: Number = tunable(10**0.5)
    interval: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("noise_std", self.noise_std, zero=True)
        positive("interval", self.interval)

    def step(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " d"]:
        """Take one step."""
        grown = 0.5 * x + 25 * x / (1 + x**2) + 8 * jnp.cos(1.2 * like(x, t))
        return add_noise(key, grown, self.noise_std)

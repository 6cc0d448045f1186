"""A random walk: the dynamics of the bimodal toy."""

from __future__ import annotations

from .._checks import positive
from .._typing import Array, Float, Key, Number, Scalar, tunable
from .base import AbstractDynamics
from .integrators import add_noise, noise_over


class RandomWalk(AbstractDynamics):
    """x' = x + noise_std z, z ~ N(0, I).

    Args:
        noise_std: standard deviation per interval; over a part of one, times the root of the part.
        interval: model time per assimilation interval.
    """

    noise_std: Number = tunable(0.1)
    interval: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("noise_std", self.noise_std, zero=True)
        positive("interval", self.interval)

    def step(
        self, key: Key, x: Float[Array, " d"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " d"]:
        """Take one step of the walk, or a part of one."""
        return add_noise(key, x, noise_over(self.noise_std, interval, self.interval))

"""The Lorenz (1963) convection model."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from .._checks import choice, count, positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from .base import AbstractDynamics
from .integrators import METHODS, add_noise, integrate, noise_over


class Lorenz63(AbstractDynamics):
    """dx/dt = sigma (y - x), dy/dt = x (rho - z) - y, dz/dt = x y - beta z.

    Source: Lorenz 1963, J. Atmos. Sci. 20. The equations are symmetric under
    (x, y, z) -> (-x, -y, z), so measuring z alone leaves two modes.

    Args:
        sigma, rho, beta: parameters (dimensionless).
        interval: model time per assimilation interval.
        substeps: integration steps per interval.
        method: "rk4" or "euler".
        noise_std: standard deviation of the noise added once per interval; over a part of one,
            times the root of that part.
    """

    sigma: Number = tunable(10.0)
    rho: Number = tunable(28.0)
    beta: Number = tunable(8 / 3)
    interval: Number = tunable(0.1)
    substeps: int = eqx.field(static=True, default=10)
    method: str = eqx.field(static=True, default="rk4")
    noise_std: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the options."""
        choice("method", self.method, METHODS)
        count("substeps", self.substeps)
        positive("interval", self.interval)
        positive("noise_std", self.noise_std, zero=True)

    def tendency(self, x: Float[Array, " 3"]) -> Float[Array, " 3"]:
        """Return dx/dt."""
        sigma, rho, beta = like(x, self.sigma), like(x, self.rho), like(x, self.beta)
        a, b, c = x[0], x[1], x[2]
        return jnp.stack([sigma * (b - a), a * (rho - c) - b, a * b - beta * c])

    def step(
        self, key: Key, x: Float[Array, " 3"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " 3"]:
        """Integrate over one interval, or over a shorter one, and add noise."""
        if x.shape != (3,):
            raise ValueError(f"x: expected shape (3,), got {x.shape}")
        length = self.interval if interval is None else interval
        x = integrate(self.tendency, x, length, self.substeps, self.method)
        return add_noise(key, x, noise_over(self.noise_std, interval, self.interval))

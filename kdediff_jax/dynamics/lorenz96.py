"""The Lorenz (1996) model on a ring."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._checks import choice, count, positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from .base import AbstractDynamics
from .integrators import METHODS, add_noise, integrate, noise_over


class Lorenz96(AbstractDynamics):
    """dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F, indices modulo d >= 4.

    Source: Lorenz 1996, "Predictability: a problem partly solved". The dimension is the state's.

    Args:
        forcing: F; chaotic at 8.
        interval: model time per assimilation interval (0.05 is about 6 hours).
        substeps: integration steps per interval.
        method: "rk4" or "euler".
        noise_std: standard deviation of the noise added once per interval; over a part of one,
            times the root of that part.
    """

    forcing: Number = tunable(8.0)
    interval: Number = tunable(0.05)
    substeps: int = eqx.field(static=True, default=1)
    method: str = eqx.field(static=True, default="rk4")
    noise_std: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the options."""
        choice("method", self.method, METHODS)
        count("substeps", self.substeps)
        positive("interval", self.interval)
        positive("noise_std", self.noise_std, zero=True)

    def tendency(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return dx/dt."""
        around = jnp.concatenate([x[-2:], x, x[:1]])
        if jax.default_backend() == "cpu":
            # fused into the sum, a circle's index arithmetic takes five times as long as the sum
            around = lax.optimization_barrier(around)
        return (around[3:] - around[:-3]) * around[1:-2] - x + like(x, self.forcing)

    def step(
        self, key: Key, x: Float[Array, " d"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " d"]:
        """Integrate over one interval, or over a shorter one, and add noise."""
        if x.ndim != 1 or x.shape[0] < 4:
            raise ValueError(f"x: expected shape (d,) with d >= 4, got {x.shape}")
        length = self.interval if interval is None else interval
        x = integrate(self.tendency, x, length, self.substeps, self.method)
        return add_noise(key, x, noise_over(self.noise_std, interval, self.interval))

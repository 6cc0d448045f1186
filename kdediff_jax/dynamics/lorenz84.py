"""The Lorenz (1984) model of the general circulation."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from .._checks import choice, count, positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from .base import AbstractDynamics
from .integrators import METHODS, add_noise, integrate, noise_over


class Lorenz84(AbstractDynamics):
    """dx/dt = -y^2 - z^2 - a x + a F, dy/dt = x y - b x z - y + G, dz/dt = b x y + x z - z.

    Source: Lorenz 1984, Tellus A 36. x is the westerly wind, y and z are the cosine and the sine
    phase of a wave that it carries along. A time unit stands for five days.

    Args:
        a, b: damping of the wind and advection of the wave (dimensionless).
        forcing, asymmetry: F and G; chaotic at 8 and 1.
        interval: model time per assimilation interval (0.2 is about a day).
        substeps: integration steps per interval.
        method: "rk4" or "euler".
        noise_std: standard deviation of the noise added once per interval; over a part of one,
            times the root of that part.
    """

    a: Number = tunable(0.25)
    b: Number = tunable(4.0)
    forcing: Number = tunable(8.0)
    asymmetry: Number = tunable(1.0)
    interval: Number = tunable(0.2)
    substeps: int = eqx.field(static=True, default=4)
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
        a, b = like(x, self.a), like(x, self.b)
        forcing, asymmetry = like(x, self.forcing), like(x, self.asymmetry)
        wind, cosine, sine = x[0], x[1], x[2]
        dwind = -(cosine**2) - sine**2 - a * (wind - forcing)
        dcosine = wind * cosine - b * wind * sine - cosine + asymmetry
        dsine = b * wind * cosine + wind * sine - sine
        return jnp.stack([dwind, dcosine, dsine])

    def step(
        self, key: Key, x: Float[Array, " 3"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " 3"]:
        """Integrate over one interval, or over a shorter one, and add noise."""
        if x.shape != (3,):
            raise ValueError(f"x: expected shape (3,), got {x.shape}")
        length = self.interval if interval is None else interval
        x = integrate(self.tendency, x, length, self.substeps, self.method)
        return add_noise(key, x, noise_over(self.noise_std, interval, self.interval))

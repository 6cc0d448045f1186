"""Competing species: the Lotka–Volterra model."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp

from .._checks import choice, count, positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from ..numerics import dot
from .base import AbstractDynamics
from .integrators import METHODS, add_noise, integrate, noise_over

RATES = (1.0, 0.72, 1.53, 1.27)
COMPETITION = (
    (1.0, 1.09, 1.52, 0.0),
    (0.0, 1.0, 0.44, 1.36),
    (2.33, 0.0, 1.0, 0.47),
    (1.21, 0.51, 0.35, 1.0),
)


class LotkaVolterra(AbstractDynamics):
    """dx_i/dt = r_i x_i (1 - sum_j a_ij x_j), populations in units of what a habitat carries.

    Source: Vano, Wildenberg, Anderson, Noel and Sprott 2006, Nonlinearity 19. The default is their
    four species, which are chaotic, with a Lyapunov exponent of 0.02.

    A negative population would run off to minus infinity, and an analysis may hold one. An interval
    starts from `floor` instead; its default is half of the smallest population on the attractor of
    the default species.

    Args:
        rates: growth rates r_i [d].
        competition: a_ij [d d], how much species j takes from species i.
        floor: smallest population at the start of an interval.
        interval: model time per assimilation interval.
        substeps: integration steps per interval.
        method: "rk4" or "euler".
        noise_std: standard deviation of the noise added once per interval; over a part of one,
            times the root of that part.

    Raises:
        ValueError: rates and competition of shapes that do not fit.
    """

    rates: Number = tunable(RATES)
    competition: Number = tunable(COMPETITION)
    floor: Number = tunable(1e-3)
    interval: Number = tunable(5.0)
    substeps: int = eqx.field(static=True, default=50)
    method: str = eqx.field(static=True, default="rk4")
    noise_std: Number = tunable(0.0)

    def __check_init__(self) -> None:
        """Check the options."""
        shape = jnp.shape(self.rates)
        if len(shape) != 1:
            raise ValueError(f"rates: expected shape (d,), got {shape}")
        if jnp.shape(self.competition) != shape + shape:
            raise ValueError(
                f"competition: expected shape {shape + shape}, got {jnp.shape(self.competition)}"
            )
        choice("method", self.method, METHODS)
        count("substeps", self.substeps)
        positive("floor", self.floor, zero=True)
        positive("interval", self.interval)
        positive("noise_std", self.noise_std, zero=True)

    def tendency(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return dx/dt."""
        taken = dot(like(x, self.competition), x)
        return like(x, self.rates) * x * (1 - taken)

    def step(
        self, key: Key, x: Float[Array, " d"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " d"]:
        """Integrate over one interval, or over a shorter one, and add noise."""
        if x.shape != jnp.shape(self.rates):
            raise ValueError(f"x: expected shape {jnp.shape(self.rates)}, got {x.shape}")
        x = jnp.maximum(x, like(x, self.floor))
        length = self.interval if interval is None else interval
        x = integrate(self.tendency, x, length, self.substeps, self.method)
        return add_noise(key, x, noise_over(self.noise_std, interval, self.interval))

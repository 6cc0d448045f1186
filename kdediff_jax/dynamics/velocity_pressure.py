"""Two-dimensional flow with velocity and pressure as its state."""

from __future__ import annotations

import math

import jax.numpy as jnp

from .._typing import Array, Float, Key, Scalar
from .base import AbstractDynamics
from .flow_fields import pressure, velocity, vorticity
from .integrators import add_noise, noise_over
from .navier_stokes import NavierStokes


class VelocityPressure(AbstractDynamics):
    """The flow of a `NavierStokes` model, its state the fields p, u, v [3 n n] as one vector.

    A step starts from the part of (u, v) without divergence, whose mean is kept, and ends with the
    pressure that belongs to the new velocity. The pressure that it is given is not used. Noise of
    the model is added to all three fields.

    Args:
        flow: the model of the vorticity.
    """

    flow: NavierStokes

    def __check_init__(self) -> None:
        """Check the kind."""
        if not isinstance(self.flow, NavierStokes):
            raise TypeError(f"flow: expected a NavierStokes, got {self.flow!r}")

    @property
    def interval(self) -> Scalar:
        """Model time of one step."""
        return self.flow.interval  # pyright: ignore[reportReturnType]

    def fields(self, u: Float[Array, "n n"], v: Float[Array, "n n"]) -> Float[Array, " d"]:
        """Return the state of a velocity without divergence: its pressure, u and v."""
        return jnp.stack([pressure(u, v, self.flow.length), u, v]).reshape(-1)

    def step(
        self, key: Key, x: Float[Array, " d"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " d"]:
        """Integrate over one interval, or over a shorter one, and add noise."""
        n = math.isqrt(x.size // 3)
        if x.ndim != 1 or 3 * n**2 != x.size or n < 8:
            raise ValueError(f"x: expected shape (3 * n * n,) with n >= 8, got {x.shape}")
        _, u, v = x.reshape(3, n, n)
        mean_flow = jnp.stack([jnp.mean(u), jnp.mean(v)])
        omega = self.flow.advance(vorticity(u, v, self.flow.length), mean_flow, interval)
        u, v = velocity(omega, self.flow.length)
        moved = self.fields(u + mean_flow[0], v + mean_flow[1])
        return add_noise(key, moved, noise_over(self.flow.noise_std, interval, self.flow.interval))

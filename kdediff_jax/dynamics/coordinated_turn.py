"""A target in the plane that turns at a rate of its own: the usual model of tracking."""

from __future__ import annotations

import jax.numpy as jnp

from .._checks import positive
from .._typing import Array, Float, Key, Number, Scalar, like, tunable
from .base import AbstractDynamics
from .integrators import add_noise, noise_over


class CoordinatedTurn(AbstractDynamics):
    """Constant speed along a circle of constant turn rate, x = (p1, p2, v1, v2, turn rate).

    Source: Bar-Shalom, Li and Kirubarajan 2001, Estimation with Applications to Tracking and
    Navigation, section 11.7. The step is the exact solution; a turn rate of 0 is a straight line.
    Noise is added to velocity and turn rate once per interval.

    Args:
        velocity_std: standard deviation of the noise of each component of the velocity per
            interval; over a part of one, times the root of that part.
        turn_std: of the turn rate, in radians per unit of time; likewise.
        interval: model time per assimilation interval.

    Raises:
        ValueError: a negative number, an interval that is not positive, (when called) a state of
            other than five coordinates.
    """

    velocity_std: Number = tunable(0.0)
    turn_std: Number = tunable(0.0)
    interval: Number = tunable(1.0)

    def __check_init__(self) -> None:
        """Check the numbers."""
        positive("velocity_std", self.velocity_std, zero=True)
        positive("turn_std", self.turn_std, zero=True)
        positive("interval", self.interval)

    def step(
        self, key: Key, x: Float[Array, " 5"], t: Scalar, interval: Scalar | None = None
    ) -> Float[Array, " 5"]:
        """Move along the circle, then add noise."""
        if x.shape != (5,):
            raise ValueError(f"x: expected shape (5,), got {x.shape}")
        time = like(x, self.interval if interval is None else interval)
        position, velocity, rate = x[:2], x[2:4], x[4]
        angle = rate * time
        # (sin a, 1 - cos a) / a, also where a is 0
        along = time * jnp.sinc(angle / jnp.pi)
        across = time * jnp.sin(angle / 2) * jnp.sinc(angle / (2 * jnp.pi))
        left = jnp.stack([-velocity[1], velocity[0]])
        moved = position + along * velocity + across * left
        turned = jnp.cos(angle) * velocity + jnp.sin(angle) * left
        still, kicked = like(x, 0), like(x, self.velocity_std)
        size = jnp.stack([still, still, kicked, kicked, like(x, self.turn_std)])
        noise = noise_over(size, interval, self.interval)
        return add_noise(key, jnp.concatenate([moved, turned, rate[None]]), noise)

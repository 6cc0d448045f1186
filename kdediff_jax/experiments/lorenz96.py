"""What the Lorenz-96 experiments share: a truth on the attractor and members around it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ..analysis.localisation import Localisation
from ..dynamics import Lorenz96

SPIN_UP_STEPS = 1000


def spun_up(d: int, std: float) -> Callable:
    """Return (key, n) -> (truth [d], members [n d] ~ N(truth, std^2 I)).

    The truth has run for 10 time units (1000 RK4 steps of 0.01) from 8 + N(0, I), about 17
    doublings of a small error: it has forgotten its start.
    """
    model = Lorenz96(interval=0.01)

    def initial(key, n):
        truth_key, member_key = jax.random.split(key)
        start = 8 + jax.random.normal(truth_key, (d,), jnp.float32)
        truth = lax.fori_loop(
            0, SPIN_UP_STEPS, lambda _, x: model.step(truth_key, x, jnp.zeros(())), start
        )
        return truth, truth[None] + std * jax.random.normal(member_key, (n, d), jnp.float32)

    return initial


def coordinates(d: int) -> tuple[str, ...]:
    """Return the coordinates' names, x1 to xd."""
    return tuple(f"x{i}" for i in range(1, d + 1))


def ring(d: int, every: int, radius: float = 4.0) -> Localisation:
    """Return the localisation on the ring of d sites, of which every `every`-th is measured."""
    sites = jnp.arange(d, dtype=float)
    return Localisation(sites, sites[::every], radius, period=float(d))

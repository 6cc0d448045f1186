"""What the experiments on a ring share: a truth on the attractor, members around it, a taper."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ..._typing import Array, Float, Key
from ...dynamics import AbstractDynamics, Lorenz96
from ...ensemble.localisation import Localisation
from ..experiment import InitialLaw

LORENZ96_STEPS = 1000


def around_attractor(
    draw_start: Callable[[Key], Float[Array, " d"]],
    model: AbstractDynamics,
    steps: int,
    std: float,
) -> InitialLaw:
    """Return (key, n) -> (truth [d], members [n d] ~ N(truth, std^2 I)).

    Args:
        draw_start: draws the state from which the truth has run.
        model: its dynamics, without noise.
        steps: calls of the model after which the truth has forgotten its start.
        std: of the members around it.
    """

    def initial(key: Key, n: int) -> tuple[Array, Array]:
        truth_key, member_key = jax.random.split(key)
        truth = lax.fori_loop(
            0,
            steps,
            lambda _, x: model.step(truth_key, x, jnp.zeros(())),
            draw_start(truth_key),
        )
        noise = jax.random.normal(member_key, (n, *truth.shape), jnp.float32)
        return truth, truth[None] + std * noise

    return initial


def lorenz96(d: int, std: float) -> InitialLaw:
    """Return the law of a Lorenz-96 truth and of members around it.

    The truth has run for 10 time units (1000 RK4 steps of 0.01) from 8 + N(0, I), about 17
    doublings of a small error.
    """

    def draw_start(key: Key) -> Float[Array, " d"]:
        return 8 + jax.random.normal(key, (d,), jnp.float32)

    return around_attractor(draw_start, Lorenz96(interval=0.01), LORENZ96_STEPS, std)


def coordinates(d: int, letter: str = "x") -> tuple[str, ...]:
    """Return the coordinates' names, x1 to xd."""
    return tuple(f"{letter}{i}" for i in range(1, d + 1))


def localisation(d: int, every: int, radius: float = 4.0) -> Localisation:
    """Return the localisation on the ring of d sites, of which every `every`-th is measured."""
    sites = jnp.arange(d, dtype=float)
    return Localisation(sites, sites[::every], radius, period=float(d))

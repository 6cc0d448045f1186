"""Twin experiments: a synthetic truth and its measurements."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ._checks import count, has_method, vector
from ._typing import Array, Float, Key, Scalar, like, numbers_to_leaves
from .dynamics.base import AbstractDynamics
from .observations.base import AbstractObservation


def twin_experiment(
    key: Key,
    dynamics: AbstractDynamics,
    observation: AbstractObservation,
    x0: Float[Array, " d"],
    num_cycles: int,
    *,
    t0: Scalar | float = 0.0,
) -> tuple[Float[Array, "t d"], Float[Array, "t m"]]:
    """Run the truth and measure it once per interval.

    Args:
        key: random key.
        dynamics: the truth's dynamics; pass a noise-free one for a deterministic truth.
        observation: measurement simulator.
        x0: true state at t0; it is not measured, the first measurement comes one interval later.
        num_cycles: number of intervals T.
        t0: model time at the start.

    Returns:
        truth [T d] and measurements [T m], both at the ends of the intervals.
    """
    has_method("dynamics", dynamics, "step")
    has_method("observation", observation, "sample")
    x0 = vector("x0", x0, what="d")
    count("num_cycles", num_cycles)
    dynamics, observation = numbers_to_leaves((dynamics, observation))
    # the same key may drive the filter: fold in a constant, so that the two draw apart
    key = jax.random.fold_in(key, 0x7717)
    return _run(key, dynamics, observation, x0, num_cycles, like(x0, t0))


@eqx.filter_jit
def _run(key, dynamics, observation, x0, num_cycles, t0):
    interval = like(x0, dynamics.interval)

    def cycle(x, index):
        step_key, measure_key = jax.random.split(jax.random.fold_in(key, index))
        t = t0 + index.astype(x.dtype) * interval
        x = dynamics.step(step_key, x, t)
        return x, (x, observation.sample(measure_key, x, t + interval))

    return lax.scan(cycle, x0, jnp.arange(num_cycles))[1]

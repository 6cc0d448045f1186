"""Twin experiments: a synthetic truth and its measurements."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from . import clock as clocks
from ._checks import count, has_method, vector
from ._checks import key as check_key
from ._tracing import errors_in_users_words, refuse_mutable
from ._typing import Array, Float, Key, Scalar, like, numbers_to_leaves
from .dynamics.base import AbstractDynamics
from .dynamics.propagate import propagate, takes_interval
from .observations.base import AbstractObservation, measure
from .simulators.roles import lives_on_host
from .simulators.truth import truth_and_measurements


def twin_experiment(
    key: Key,
    dynamics: AbstractDynamics,
    observation: AbstractObservation,
    x0: Float[Array, " d"],
    num_cycles: int | None = None,
    *,
    t0: Scalar | float = 0.0,
    times: Any = None,
    origin: Scalar | float = 0.0,
) -> tuple[Float[Array, "t d"], Float[Array, "t m"]]:
    """Run the truth and measure it once per interval, or at the times given.

    Model and measurement may live on the host (`HostDynamics`, `HostObservation`, `HostOperator`);
    what fails in them is raised, for no other member can take the truth's place.

    Args:
        key: random key.
        dynamics: the truth's dynamics; pass a noise-free one for a deterministic truth.
        observation: measurement simulator.
        x0: true state at t0; it is not measured, the first measurement comes one interval later.
        num_cycles: number of intervals T; of `times`, all by default.
        t0: model time at the start.
        times: model time of every measurement, as for `assimilate`.
        origin: model time at which the t of `step` and `sample` is 0.

    Returns:
        truth [T d] and measurements [T m], both at the ends of the intervals.

    Raises:
        ValueError: shapes that do not fit, times that do not increase; where a simulator lives on
            the host, a truth or a measurement that is not finite.
        TypeError: an argument of the wrong kind.
    """
    check_key("key", key)
    has_method("dynamics", dynamics, "step")
    has_method("observation", observation, "sample")
    x0 = vector("x0", x0, what="d")
    if times is not None:
        times = times[:num_cycles]
        num_cycles = len(times)
    count("num_cycles", num_cycles)
    dynamics, observation = numbers_to_leaves((dynamics, observation))
    clock, strides, bound = clocks.start(t0, origin, x0.dtype), None, None
    if times is not None:
        whole = not takes_interval(dynamics)
        strides, bound = clocks.schedule(clock, times, dynamics.interval, whole)
    # the same key may drive the filter: fold in a constant, so that the two draw apart
    key = jax.random.fold_in(key, 0x7717)
    if lives_on_host(dynamics, observation):
        assert num_cycles is not None  # `count` has seen to it
        modules = dynamics, observation
        return truth_and_measurements(key, modules, x0, num_cycles, clock, strides, bound)
    with errors_in_users_words(dynamics, observation):
        return _run(key, dynamics, observation, x0, num_cycles, clock, strides, bound)


@eqx.filter_jit
def _run(key, dynamics, observation, x0, num_cycles, clock, strides, bound):
    refuse_mutable(dynamics, observation)

    def cycle(carry, given):
        x, clock = carry
        index, stride = given
        step_key, measure_key = jax.random.split(jax.random.fold_in(key, index))
        x = propagate(dynamics, step_key, x, clock.t, stride, bound)
        clock = clock.after(stride, like(x, dynamics.interval))
        return (x, clock), (x, measure(observation, measure_key, x, clock.t))

    return lax.scan(cycle, (x0, clock), (jnp.arange(num_cycles), strides))[1]

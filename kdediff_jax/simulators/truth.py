"""A twin experiment whose model or measurement lives on the host: one state, one loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import traced
from .._tracing import errors_in_users_words
from .._typing import Array, Float, Key, Scalar, like
from ..clock import Clock, Stride
from ..dynamics.propagate import propagate
from ..observations.base import measure
from .base import AbstractSimulator, Request
from .failures import FailureLog
from .forecast import step_members
from .roles import HostDynamics, HostObservation, host_operators, replace_operators


def truth_and_measurements(
    key: Key,
    modules: tuple[Any, Any],
    x0: Float[Array, " d"],
    num_cycles: int,
    clock: Clock,
    strides: Stride | None,
    bound: int | None,
) -> tuple[Float[Array, "t d"], Float[Array, "t m"]]:
    """Return truth and measurements, with the keys and times of a compiled twin experiment.

    Args:
        key: of the experiment.
        modules: dynamics and observation.
        x0: true state at the clock's time.
        num_cycles: number of cycles.
        clock: at the start.
        strides: how to step to each cycle; None: one interval each.
        bound: largest number of steps.

    Raises:
        TypeError: inside of a transformation.
        ValueError: the truth or its measurement is not finite.
        Exception: as the simulator raised it: no other member can take the truth's place.
    """
    if traced((key, modules, x0, clock)):
        raise TypeError(
            "twin_experiment: a simulator lives on the host, which is run outside of `jit`, `vmap` "
            "and `grad` only"
        )
    given = modules, clock, strides, bound
    rows = list(_cycles(key, x0, num_cycles, *given))
    truth, ys = (jnp.asarray(np.stack(each)) for each in zip(*rows, strict=True))
    return truth, ys


def _cycles(
    key: Key,
    x: Any,
    num_cycles: int,
    modules: tuple[Any, Any],
    clock: Clock,
    strides: Stride | None,
    bound: int | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the truth and its measurement, cycle after cycle."""
    dynamics, observation = modules
    for k in range(num_cycles):
        stride = jax.tree.map(lambda each, k=k: each[k], strides)
        step_key, measure_key = _keys(key, np.asarray(k, np.int32))  # a number would be compiled in
        if isinstance(dynamics, HostDynamics):
            log = FailureLog(k, first=True)
            x = step_members(dynamics, step_key[None], x[None], clock.t, stride, log)[0]
        else:
            with errors_in_users_words(dynamics):
                x = _propagate(dynamics, step_key, x, clock.t, stride, bound)
        _refuse_infinite("dynamics: expected a finite truth", x, k)
        clock = clock.after(stride, like(x, dynamics.interval))
        y = _measured(observation, measure_key, jnp.asarray(x), clock.t, k)
        _refuse_infinite("observation: expected finite measurements of the truth", y, k)
        yield np.asarray(x), np.asarray(y)


def _measured(observation: Any, key: Key, x: Array, t: Scalar, cycle: int) -> Any:
    """Return a measurement of the state."""
    if isinstance(observation, HostObservation):
        return _one(observation.simulator, key, x, t, cycle)
    values = [
        _Value(jnp.asarray(_one(each.simulator, None, x, t, cycle)))
        for each in host_operators(observation)
    ]
    with errors_in_users_words(None, observation):
        return _sampled(
            replace_operators(observation, values) if values else observation, key, x, t
        )


def _one(
    simulator: AbstractSimulator, key: Key | None, x: Array, t: Scalar, cycle: int
) -> np.ndarray:
    """Return what a simulator measures of one state; without a key it is an operator."""
    words = None if key is None else np.asarray(jax.random.key_data(key))[None]
    now = None if key is None else float(t)
    request = Request(np.array(x)[None], [0], [0], words, now, None, None, cycle, "measurement")
    answer = simulator.run(request)
    FailureLog(cycle, first=True).errors("observation", np.zeros(1, int), answer.errors)
    return answer.values[0]


class _Value(eqx.Module):
    """An operator whose value at the state is known."""

    value: Float[Array, " m"]

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """Return it."""
        return self.value


def _refuse_infinite(text: str, value: Any, cycle: int) -> None:
    """Raise ValueError where a number is not finite."""
    found = np.asarray(value)
    if not np.isfinite(found).all():
        raise ValueError(f"{text}, got {found} in cycle {cycle}")


@eqx.filter_jit
def _keys(key: Key, index: Any) -> tuple[Key, Key]:
    """Return the keys of a cycle: of the step, and of the measurement."""
    step_key, measure_key = jax.random.split(jax.random.fold_in(key, index))
    return step_key, measure_key


_propagate = eqx.filter_jit(propagate)
_sampled = eqx.filter_jit(measure)

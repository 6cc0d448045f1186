"""The loop on the host: a run whose dynamics or measurement no compiled program can call.

Of a cycle only the simulations are done here. What lies between them is compiled, once: keys, the
guards of the forecast, the analysis, the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import traced
from .._progress import Report, reporting
from .._tracing import errors_in_users_words, refuse_mutable
from .._typing import Array, Float, Key, Scalar, like
from ..analysis.safeguards import Safeguards
from ..clock import Stride
from ..filter_cycle import Received, analysed, forecast_of, keys_of_cycle, received
from ..runs import CycleOutput, FilterState
from .failures import FAR, Failure, FailureLog
from .forecast import NAME, step_members
from .measurement import Members, measured_members
from .roles import HostDynamics


class HostRun(NamedTuple):
    """What a loop returns: see `FilterResult`."""

    saved: Any
    info: Any
    state: FilterState
    failures: tuple[Failure, ...]


def run(
    state: FilterState,
    modules: tuple[Any, Any, Any],
    ys: Float[Array, "t m"],
    strides: Stride | None,
    bound: int | None,
    save: Callable[[CycleOutput], Any],
    progress: bool | Report | None,
) -> HostRun:
    """Run all cycles, one after the other. Arguments as `assimilate`."""
    _refuse_tracers(state, ys)
    total, kept, failures = ys.shape[0], [], []
    if total == 0:
        raise ValueError("ys: expected at least one row, as a simulator lives on the host, got 0")
    with reporting(progress) as report:
        for k in range(total):
            stride = jax.tree.map(lambda each, k=k: each[k], strides)
            state, saved, found = one_cycle(state, modules, ys[k], stride, bound, save, k == 0)
            kept.append(jax.tree.map(np.asarray, saved))
            failures += found
            report(k + 1, total)
    saved, info = jax.tree.map(lambda *each: jnp.asarray(np.stack(each)), *kept)
    return HostRun(saved, info, state, tuple(failures))


def run_cycle(
    state: FilterState,
    modules: tuple[Any, Any, Any],
    y: Float[Array, " m"],
    stride: Stride | None,
    bound: int | None,
) -> tuple[FilterState, CycleOutput]:
    """Run one cycle, see `kdediff_jax.cycle`."""
    _refuse_tracers(state, y)
    state, (output, _), failures = one_cycle(state, modules, y, stride, bound, _whole, True)
    return state, output._replace(failures=failures)


def one_cycle(
    state: FilterState,
    modules: tuple[Any, Any, Any],
    y: Float[Array, " m"],
    stride: Stride | None,
    bound: int | None,
    save: Callable[[CycleOutput], Any],
    first: bool,
) -> tuple[FilterState, Any, tuple[Failure, ...]]:
    """Return the next state, what `save` chose with the analysis's report, and the failures.

    Args:
        state: of the last cycle.
        modules: dynamics, observation and analysis.
        y: the measurement.
        stride: interval to cover and number of steps; None: one step.
        bound: largest number of steps.
        save: what to store.
        first: whether an exception in every member is raised.
    """
    dynamics, observation, analysis = modules
    log = FailureLog(int(state.index), first)
    keys, analysis_key = _keys_of_cycle(state)
    if isinstance(dynamics, HostDynamics):
        x = step_members(dynamics, keys, state.ensemble, state.clock.t, stride, log)
        forecast = jnp.asarray(x)
    else:
        with errors_in_users_words(*modules):
            forecast = _forecast_of(state, keys, dynamics, stride, bound)
    guards = getattr(analysis, "safeguards", Safeguards())
    forecast, members = _received(state, forecast, dynamics.interval, guards, stride)
    _note_guarded(forecast, members, log)
    observation = measured_members(observation, analysis, analysis_key, members, y, log)
    with errors_in_users_words(None, observation, analysis):
        rest = observation, analysis
        state, saved = _analysed(
            state, analysis_key, forecast, dynamics.interval, rest, y, stride, save
        )
    return state, saved, log.close()


def _note_guarded(forecast: Received, members: Members, log: FailureLog) -> None:
    """Note the members that the guards of the forecast leave out."""
    alive = np.asarray(members.alive)
    if alive.all():
        return
    finite = np.all(np.isfinite(np.asarray(forecast.members)), axis=1)
    for member in np.flatnonzero(~alive).tolist():
        log.add(NAME, member, FAR if finite[member] else "it returned values that are not finite")


def _refuse_tracers(state: FilterState, ys: Any) -> None:
    """Refuse a run inside of a transformation."""
    if traced((state, ys)):
        raise TypeError(
            "dynamics, observation: one of them lives on the host, and can be run by `assimilate`, "
            "`resume` and `cycle` outside of `jit`, `vmap`, `grad`, `sweep` and `tune` only"
        )


def _whole(output: CycleOutput) -> CycleOutput:
    """Store all of a cycle."""
    return output


_keys_of_cycle = eqx.filter_jit(keys_of_cycle)
_forecast_of = eqx.filter_jit(forecast_of)


@eqx.filter_jit
def _received(
    state: FilterState,
    forecast: Float[Array, "n d"],
    interval: Any,
    guards: Safeguards,
    stride: Stride | None,
) -> tuple[Received, Members]:
    """Return the forecast that the cycle goes on with, and who of it is measured, and when."""
    found = received(state, forecast)
    states, alive = guards.admit(found.members)
    clock = state.clock.after(stride, like(state.ensemble, interval))
    return found, Members(states, alive, clock.t, guards.far_member)


@eqx.filter_jit
def _analysed(
    state: FilterState,
    key: Key,
    forecast: Received,
    interval: Scalar,
    modules: tuple[Any, Any],
    y: Float[Array, " m"],
    stride: Stride | None,
    save: Callable[[CycleOutput], Any],
) -> tuple[FilterState, Any]:
    """Return the state after the measurement, and what `save` chose with the report."""
    refuse_mutable(None, *modules)
    state, output = analysed(state, key, forecast, interval, modules, y, stride)
    return state, (save(output), output.info)

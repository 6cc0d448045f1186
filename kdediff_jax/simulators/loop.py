"""The loop on the host: a run whose dynamics or measurement no compiled program can call.

Of a cycle only the simulations are done here. What lies between them is compiled, once: keys, the
guards of the forecast, the analysis, the clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import long_runs
from .._checks import traced
from .._files import AnyPath
from .._interrupts import heard
from .._progress import Report, reporting
from .._tracing import errors_in_users_words, refuse_mutable
from .._typing import Array, Float, Key, Scalar, like
from ..analysis.safeguards import Safeguards
from ..clock import Stride
from ..filter_cycle import Received, analysed, forecast_of, keys_of_cycle, received
from ..long_runs.record import InMemory, OnDisk, recorded
from ..long_runs.series import Series
from ..runs import CycleOutput, FilterResult, FilterState
from .failures import FAR, Failure, FailureLog, Failures
from .forecast import NAME, step_members
from .identity import digest_of_simulators
from .measurement import Members, measured_members, stand_in
from .roles import HostDynamics


@heard()
def run(
    state: FilterState,
    modules: tuple[Any, Any, Any],
    ys: Float[Array, "t m"],
    strides: Stride | None,
    bound: int | None,
    save: Callable[[CycleOutput], Any],
    *,
    checkpoint: AnyPath | None = None,
    progress: bool | Report | None = None,
    chunk: int | None = None,
) -> FilterResult:
    """Run all cycles, one after the other. Arguments as `assimilate`."""
    _refuse_tracers(state, ys)
    long_runs.wanted(checkpoint, progress, chunk, (state, modules, ys))  # which are checked there
    total = ys.shape[0]
    if total == 0:
        raise ValueError("ys: expected at least one row, as a simulator lives on the host, got 0")
    digest = "" if checkpoint is None else digest_of_simulators(modules)
    series = long_runs.Series(one_program, state, modules, ys, strides, bound, save, digest)
    series = series.on_host()
    with reporting(progress) as report, recorded(checkpoint, series) as record:
        failures = Failures.of_notes(record.position.notes)
        if record.position.finished:
            report(record.position.finished, total)
        with _told(record, total):
            for start, end in _pieces(record.position.finished, total, chunk or 1):
                failures = _run_chunk(record, series, failures, start, end)
                report(end, total)
    outputs = record.outputs()
    saved, info = outputs if checkpoint is not None else jax.tree.map(jnp.asarray, outputs)
    return FilterResult(saved, info, record.position.state, failures)


def _pieces(start: int, total: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Yield the first cycle of each chunk and the one after its last."""
    yield from ((k, min(k + chunk, total)) for k in range(start, total, chunk))


def _run_chunk(
    record: InMemory | OnDisk, series: Series, failures: Failures, start: int, end: int
) -> Failures:
    """Run the cycles from `start` to before `end`, record them, and return the failures so far."""
    state, before, kept = record.position.state, failures, []
    for k in range(start, end):
        stride = jax.tree.map(lambda each, k=k: each[k], series.strides)
        # a first cycle where all fail is a mistake; a run that goes on has been without
        arguments = series.modules, series.ys[k], stride, series.bound, series.save, k == 0
        state, saved, found = one_cycle(state, *arguments)
        kept.append(jax.tree.map(np.asarray, saved))
        failures = failures.plus(found)
    notes = record.position.notes if failures is before else failures.as_notes()
    record.add(jax.tree.map(lambda *each: np.stack(each), *kept), state, notes)
    return failures


@contextlib.contextmanager
def _told(record: InMemory | OnDisk, total: int) -> Iterator[None]:
    """Say with a Ctrl-C where it stopped the run, and what is left of it."""
    try:
        yield
    except KeyboardInterrupt as error:
        done = record.position.finished
        left = "nothing is kept without a checkpoint"
        if isinstance(record, OnDisk):
            left = f"{record.path} has those done, and the same call goes on from there"
        error.add_note(
            f"kdediff_jax: stopped after {done} of {total} cycles; programs under way were ended; "
            f"{left}"
        )
        raise


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
    forecast, members = _received(state, forecast, dynamics.interval, analysis, stride)
    _note_guarded(forecast, members, log)
    observation = measured_members(observation, analysis, analysis_key, members, y, log)
    with errors_in_users_words(None, observation, analysis):
        rest = observation, analysis
        state, saved = _analysed(
            state, analysis_key, forecast, dynamics.interval, rest, y, stride, save
        )
    return state, saved, log.close()


def one_program(
    state: FilterState,
    modules: tuple[Any, Any, Any],
    ys: Float[Array, "1 m"],
    strides: Stride | None,
    bound: int | None,
    save: Callable[[CycleOutput], Any],
) -> FilterResult:
    """Run one cycle as a program that can be traced, with zeros for what the host would answer.

    Its text tells one run from another, its outputs have the shapes of those of `one_cycle`.
    """
    dynamics, observation, analysis = modules
    stride = jax.tree.map(lambda each: each[0], strides)
    keys, key = keys_of_cycle(state)
    forecast = state.ensemble
    if not isinstance(dynamics, HostDynamics):
        forecast = forecast_of(state, keys, dynamics, stride, bound)
    admitted, members = _received(state, forecast, dynamics.interval, analysis, stride)
    rest = stand_in(observation, analysis, members, ys[0]), analysis
    state, outputs = _analysed(state, key, admitted, dynamics.interval, rest, ys[0], stride, save)
    saved, info = jax.tree.map(lambda each: jnp.asarray(each)[None], outputs)
    return FilterResult(saved, info, state)


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
            "`resume`, `cycle` and `twin_experiment` outside of `jit`, `vmap`, `grad`, `sweep` and "
            "`tune` only"
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
    analysis: Any,
    stride: Stride | None,
) -> tuple[Received, Members]:
    """Return the forecast that the cycle goes on with, and who of it is measured, and when."""
    localised = getattr(analysis, "localised", False)
    guards = getattr(analysis, "safeguards", Safeguards())
    found = received(state, forecast, analysis)
    states, alive = guards.admit(found.members, localised)
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

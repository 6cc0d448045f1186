"""Assimilation: forecast, measure, analyse, cycle after cycle, as one XLA program.

Where dynamics or measurement live on the host, a loop takes its place (`kdediff_jax.simulators`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import clock as clocks
from . import long_runs
from ._checks import concrete, floating, has_method, vector
from ._checks import ensemble as check_ensemble
from ._checks import key as check_key
from ._files import AnyPath
from ._progress import Report
from ._tracing import errors_in_users_words, refuse_mutable
from ._typing import Array, Float, Key, Scalar, like, numbers_to_leaves
from .analysis.base import AbstractAnalysis
from .clock import Stride
from .dynamics.base import AbstractDynamics
from .dynamics.propagate import takes_interval
from .filter_cycle import analysed, forecast_of, keys_of_cycle, received
from .observations.base import AbstractObservation
from .runs import CycleOutput, FilterResult, FilterState, save_moments
from .simulators import loop
from .simulators.roles import lives_on_host


def init(
    key: Key,
    ensemble: Float[Array, "n d"],
    *,
    t0: Scalar | float = 0.0,
    origin: Scalar | float = 0.0,
) -> FilterState:
    """Return the state before the first cycle.

    Args:
        key: the run's random key; cycle k uses `fold_in(key, k)`.
        ensemble: initial members, at least two.
        t0: model time.
        origin: model time at which the t of `step` and `sample` is 0, see `assimilate`.
    """
    check_key("key", key)
    members = check_ensemble("ensemble", ensemble)
    clock = clocks.start(t0, origin, members.dtype)
    return FilterState(members, key, jnp.zeros((), jnp.int32), clock, members)


def cycle(
    state: FilterState,
    dynamics: AbstractDynamics,
    observation: AbstractObservation,
    analysis: AbstractAnalysis,
    y: Float[Array, " m"],
    *,
    t: Scalar | float | None = None,
) -> tuple[FilterState, CycleOutput]:
    """Run one cycle online: forecast to the measurement's time, then assimilate y.

    It is compiled on first use: a loop of your own needs no `jit`. `assimilate` scans the same
    step: both give the same numbers, but for the rounding of two compiled programs, which a chaotic
    model lets grow.

    Args:
        state: of `init` or of the last cycle.
        dynamics: forecast model.
        observation: measurement simulator.
        analysis: the scheme.
        y: the measurement.
        t: its model time, on the axis of t0; None: one interval of the dynamics later.
    """
    modules = _prepared(dynamics, observation, analysis)
    y = like(state.ensemble, vector("y", y))
    strides, bound = _strides(state, modules[0], None if t is None else [t])
    stride = jax.tree.map(lambda x: x[0], strides)
    if lives_on_host(*modules[:2]):
        return loop.run_cycle(state, modules, y, stride, bound)
    with errors_in_users_words(*modules):
        return _compiled_step(state, modules, y, stride, bound)


def _prepared(dynamics: Any, observation: Any, analysis: Any) -> tuple[Any, Any, Any]:
    """Check the kinds, and turn stray Python floats into leaves: no new program for a new value."""
    has_method("dynamics", dynamics, "step")
    has_method("observation", observation, "sample")
    has_method("analysis", analysis, "__call__")
    return numbers_to_leaves((dynamics, observation, analysis))


def _at(modules: tuple[Any, Any, Any], x: Float[Array, " d"], t: Scalar) -> tuple[Any, Any]:
    """Return all that can depend on t."""
    key = jax.random.key(0)
    if lives_on_host(*modules[:2]):
        return t, t  # who knows
    return modules[0].step(key, x, t), modules[1].sample(key, x, t)


def _strides(
    state: FilterState, dynamics: AbstractDynamics, times: Any
) -> tuple[Stride | None, int | None]:
    """Return how to step to the times given, None for the dynamics' own interval."""
    if times is None:
        return None, None
    whole = not takes_interval(dynamics)
    return clocks.schedule(state.clock, times, dynamics.interval, whole)


def _step(
    state: FilterState,
    modules: tuple[Any, Any, Any],
    y: Float[Array, " m"],
    stride: Stride | None,
    bound: int | None,
) -> tuple[FilterState, CycleOutput]:
    # while tracing: once a program is compiled it costs nothing, and what is refused has none
    refuse_mutable(*modules)
    member_keys, key = keys_of_cycle(state)
    forecast = forecast_of(state, member_keys, modules[0], stride, bound)
    forecast = received(state, forecast, modules[2])
    return analysed(state, key, forecast, modules[0].interval, modules[1:], y, stride)


_compiled_step = eqx.filter_jit(_step)


def assimilate(
    key: Key,
    dynamics: AbstractDynamics,
    observation: AbstractObservation,
    analysis: AbstractAnalysis,
    ensemble: Float[Array, "n d"],
    ys: Float[Array, "t m"],
    *,
    save: Callable[[CycleOutput], Any] = save_moments,
    t0: Scalar | float = 0.0,
    times: Any = None,
    origin: Scalar | float = 0.0,
    checkpoint: AnyPath | None = None,
    progress: bool | Report | None = None,
    chunk: int | None = None,
) -> FilterResult:
    """Filter a series of measurements: one `lax.scan`, one XLA program.

    A long run gives `checkpoint` or `progress`: the same numbers, in chunks of one compiled length,
    and between them what is done is told and written. Killed at any moment, the same call goes on,
    to the same bits. In memory are ys, one chunk, and with `progress` alone all outputs; with a
    checkpoint they are in a file, from which the result's arrays are mapped.

    Irregular measurements have their `times`. An interval is divided into equal steps of at most
    `dynamics.interval`, see `AbstractDynamics.step`. A row of NaN is a time of output without a
    measurement; several sets of measurements share the axis, each with components of its own that
    are NaN at the times of the others (`merge_series`).

    `step` and `sample` get a time in the ensemble's dtype, and float32 knows 1.7e9 seconds to 64:
    in a calendar's time give `origin=t0`, and t is the time since t0 (a warning says so if either
    uses t). Whatever t0 and dtype, no step is lost in `CycleOutput.elapsed` and
    `FilterState.elapsed`.

    Args:
        key: random key.
        dynamics: forecast model.
        observation: measurement simulator.
        analysis: `EnKPF`, `KDEDiffusion`, any other scheme, or your own (`AbstractAnalysis`).
        ensemble: initial members at t0; its dtype is the run's.
        ys: one row per interval, the first one interval after t0; NaN is missing.
        save: what to store of each cycle, `CycleOutput` -> pytree. Use a named function: a fresh
            lambda compiles afresh.
        t0: model time of the initial ensemble.
        times: model time of every row of ys, increasing, the first later than t0: float64 numbers,
            or `datetime64` (seconds since 1970). Steps draw their noise by other keys than without.
        origin: model time at which the t of `step` and `sample` is 0.
        checkpoint: file to go on from and to keep the state in; beside it, named `.outputs` behind
            it, the outputs as they come. Saved after a chunk, at most every second. Continued only
            by the same key, ensemble, functions and arrays; ys may have grown. On another machine
            or with other versions the bits are others. Never removed here.
        progress: True for a bar (of rich, else a line), or a function called with the numbers of
            finished and of all cycles after each chunk. Inside `jit`, `vmap` or `grad` a run is one
            program: it is silent, with a warning, and a checkpoint is refused.
        chunk: cycles of a chunk, a hundredth of the run by default; at least 2 for the bits of the
            uninterrupted run. A chunk of 0.1 s or more costs under 1 %. Where a simulator lives on
            the host a chunk is one cycle by default.

    Returns:
        `FilterResult`; failure is a flag in `info.ok`, see `raise_if_failed`.

    Raises:
        ValueError: shapes that do not fit, fewer than two members, infinite measurements, times
            that do not increase; a checkpoint that is damaged or another run's (it is kept).
        OSError: a checkpoint cannot be written (a full disk): what was saved before is whole.
        TypeError: a non-floating dtype, an argument of the wrong kind (a plain mutable object in
            place of an `eqx.Module`), a method of yours that needs a traced number's value.
    """
    state = init(key, ensemble, t0=t0, origin=origin)
    modules = _prepared(dynamics, observation, analysis)
    clocks.warn_if_coarse(state.clock, dynamics.interval, partial(_at, modules, state.ensemble[0]))
    long = {"checkpoint": checkpoint, "progress": progress, "chunk": chunk}
    return resume(state, dynamics, observation, analysis, ys, save=save, times=times, **long)


def resume(
    state: FilterState,
    dynamics: AbstractDynamics,
    observation: AbstractObservation,
    analysis: AbstractAnalysis,
    ys: Float[Array, "t m"],
    *,
    save: Callable[[CycleOutput], Any] = save_moments,
    times: Any = None,
    checkpoint: AnyPath | None = None,
    progress: bool | Report | None = None,
    chunk: int | None = None,
) -> FilterResult:
    """Go on from a state; in chunks it repeats an uninterrupted run. Arguments as `assimilate`."""
    modules = _prepared(dynamics, observation, analysis)
    if not callable(save):
        raise TypeError(f"save: expected a function of CycleOutput, got {save!r}")
    ys = floating("ys", ys)
    if ys.ndim != 2 or ys.shape[1] == 0:
        raise ValueError(f"ys: expected shape (cycles, m) with m >= 1, got {ys.shape}")
    known = concrete(ys)
    if known is not None and np.isinf(known).any():
        row = int(np.argwhere(np.isinf(known))[0, 0])
        raise ValueError(f"ys: expected finite numbers or NaN (missing), got infinity in row {row}")
    if times is not None and np.shape(times)[:1] != ys.shape[:1]:
        raise ValueError(f"times: expected {ys.shape[0]}, one a row of ys, got {np.shape(times)}")
    strides, bound = _strides(state, modules[0], times)
    ys = like(state.ensemble, ys)
    long: dict[str, Any] = {"checkpoint": checkpoint, "progress": progress, "chunk": chunk}
    if lives_on_host(*modules[:2]):
        return loop.run(state, modules, ys, strides, bound, save, **long)
    with errors_in_users_words(*modules):
        if long_runs.wanted(checkpoint, progress, chunk, (state, modules, ys, strides)):
            series = long_runs.Series(_scan, state, modules, ys, strides, bound, save)
            return long_runs.run(series, **long)
        return _scan(state, modules, ys, strides, bound, save)


@eqx.filter_jit
def _scan(
    state: FilterState,
    modules: tuple[Any, Any, Any],
    ys: Array,
    strides: Stride | None,
    bound: int | None,
    save: Callable,
) -> FilterResult:
    def step(state, measured):
        y, stride = measured
        state, output = _step(state, modules, y, stride, bound)
        return state, (save(output), output.info)

    state, (saved, info) = lax.scan(step, state, (ys, strides))
    return FilterResult(saved, info, state)

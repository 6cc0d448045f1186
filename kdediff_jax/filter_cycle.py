"""One cycle as pure functions of arrays: forecast, measure, analyse, go on from there.

`assimilate` scans them in one program; where a simulator lives on the host, a loop there calls the
compiled parts one after the other (`kdediff_jax.simulators.loop`). Both run the same code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from ._typing import Array, Float, Int, Key, Scalar, like
from .clock import Stride
from .dynamics.base import AbstractDynamics
from .dynamics.propagate import propagate
from .recovery import replenished, reported, restarted
from .runs import CycleOutput, FilterState


def keys_of_cycle(state: FilterState) -> tuple[Key, Key]:
    """Return the keys of every member's forecast [n] and of the analysis."""
    key = jax.random.fold_in(state.key, state.index)
    forecast_key, analysis_key = jax.random.split(key)
    return jax.random.split(forecast_key, state.ensemble.shape[0]), analysis_key


def forecast_of(
    state: FilterState,
    keys: Key,
    dynamics: AbstractDynamics,
    stride: Stride | None,
    bound: int | None,
) -> Float[Array, "n d"]:
    """Return every member one stride later, as the model gives it; keys are those of members."""
    t = state.clock.t
    move = jax.vmap(lambda k, x: propagate(dynamics, k, x, t, stride, bound))
    return move(keys, state.ensemble)


class Received(NamedTuple):
    """What a cycle goes on with: members, those of the reserve where too few were left."""

    members: Float[Array, "n d"]
    lost: Int[Array, ""]


def received(state: FilterState, forecast: Float[Array, "n d"], analysis: Any) -> Received:
    """Return the forecast, or the reserve in its place, see `kdediff_jax.recovery`."""
    return Received(*restarted(forecast, state.reserve, getattr(analysis, "localised", False)))


def analysed(
    state: FilterState,
    key: Key,
    forecast: Received,
    interval: Scalar,
    modules: tuple[Any, Any],
    y: Float[Array, " m"],
    stride: Stride | None,
) -> tuple[FilterState, CycleOutput]:
    """Return the state after the measurement, and the cycle.

    Args:
        state: before the cycle.
        key: of the analysis.
        forecast: of its members.
        interval: of the dynamics.
        modules: observation and analysis.
        y: the measurement.
        stride: how far the cycle goes; None: one interval.
    """
    observation, analysis = modules
    clock = state.clock.after(stride, like(state.ensemble, interval))
    members, info = analysis(key, forecast.members, y, observation, clock.t)
    info = reported(info, forecast.lost)
    reserve = replenished(state.reserve, state.ensemble, state.index, info.ok)
    elapsed = clock.elapsed.high
    output = CycleOutput(forecast.members, members, y, clock.t, info, elapsed)
    return FilterState(members, state.key, state.index + 1, clock, reserve), output

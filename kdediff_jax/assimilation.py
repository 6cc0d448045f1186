"""Assimilation: forecast, measure, analyse, cycle after cycle, as one XLA program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._checks import concrete, floating, has_method
from ._checks import ensemble as check_ensemble
from ._typing import Array, Float, Int, Key, Scalar, like, numbers_to_leaves
from .analysis.base import AbstractAnalysis, AnalysisInfo
from .dynamics.base import AbstractDynamics
from .observations.base import AbstractObservation


class FilterState(NamedTuple):
    """Everything needed to go on: analysis ensemble, run key, cycles done, model time at start."""

    ensemble: Float[Array, "n d"]
    key: Key
    index: Int[Array, ""]
    t0: Scalar


class CycleOutput(NamedTuple):
    """One finished cycle: what `save` can choose from.

    Attributes:
        forecast, analysis: ensembles before and after the measurement.
        y: the measurement.
        t: its model time.
        info: the scheme's report; `info.mean` is its estimate of the posterior mean.
    """

    forecast: Float[Array, "n d"]
    analysis: Float[Array, "n d"]
    y: Float[Array, " m"]
    t: Scalar
    info: AnalysisInfo


class Moments(NamedTuple):
    """Default storage: posterior mean and the standard deviation of the analysis members."""

    mean: Float[Array, "*t d"]
    spread: Float[Array, "*t d"]


def save_moments(output: CycleOutput) -> Moments:
    """Store the mean and the standard deviation per coordinate (divisor N - 1)."""
    return Moments(output.info.mean, jnp.std(output.analysis, axis=0, ddof=1))


def save_ensembles(output: CycleOutput) -> Float[Array, "n d"]:
    """Store the whole analysis ensemble of every cycle."""
    return output.analysis


class FilterResult(eqx.Module):
    """A filtering run.

    Attributes:
        saved: what `save` chose, with a leading axis of cycles.
        info: `AnalysisInfo` per cycle.
        state: final state, to go on with `resume`.
    """

    saved: Any
    info: AnalysisInfo
    state: FilterState

    @property
    def ensemble(self) -> Float[Array, "n d"]:
        """Final analysis ensemble."""
        return self.state.ensemble

    @property
    def mean(self) -> Float[Array, "t d"]:
        """Posterior mean per cycle."""
        return self.info.mean

    @property
    def spread(self) -> Float[Array, "t d"]:
        """Standard deviation of the analysis members per cycle and coordinate."""
        if not isinstance(self.saved, Moments):
            raise AttributeError("spread: not stored by this `save`; see save_moments")
        return self.saved.spread

    def raise_if_failed(self) -> FilterResult:
        """Return the result, or raise RuntimeError naming the first failed cycle and the reason.

        Works on the host, outside `jit`.
        """
        ok = np.asarray(self.info.ok)
        if ok.all():
            return self
        where = tuple(int(i) for i in np.argwhere(~ok)[0])
        run = f" of run {where[:-1]}" if ok.ndim > 1 else ""
        members = self.state.ensemble.shape[-2]
        masked = int(np.asarray(self.info.num_masked)[where])
        steps = int(np.asarray(self.info.num_steps)[where])
        rejected = int(np.asarray(self.info.num_rejected)[where])
        if members - masked < 2:
            why = f"{masked} of {members} members were not finite, fewer than two are left"
        elif not np.isfinite(np.asarray(self.info.mean)[where]).all():
            why = "the analysis is not finite (a bandwidth or a measurement out of range?)"
        else:
            why = (
                f"the reverse diffusion did not succeed after {steps} steps and {rejected} "
                "rejected (max_steps too small, or tau_max below the bandwidth?)"
            )
        raise RuntimeError(f"cycle {where[-1]}{run} (counted from 0) failed: {why}")


def init(key: Key, ensemble: Float[Array, "n d"], *, t0: Scalar | float = 0.0) -> FilterState:
    """Return the state before the first cycle.

    Args:
        key: the run's random key; cycle k uses `fold_in(key, k)`.
        ensemble: initial members, at least two.
        t0: model time.
    """
    members = check_ensemble("ensemble", ensemble)
    return FilterState(members, key, jnp.zeros((), jnp.int32), like(members, t0))


def cycle(
    state: FilterState,
    dynamics: AbstractDynamics,
    observation: AbstractObservation,
    analysis: AbstractAnalysis,
    y: Float[Array, " m"],
) -> tuple[FilterState, CycleOutput]:
    """Run one cycle online: forecast over one interval, then assimilate y.

    It is compiled on first use: a loop of your own needs no `jit`. `assimilate` scans the same
    step, so that both give the same numbers.
    """
    modules = _prepared(dynamics, observation, analysis)
    return _compiled_step(state, modules, like(state.ensemble, floating("y", y)))


def _prepared(dynamics: Any, observation: Any, analysis: Any) -> tuple[Any, Any, Any]:
    """Check the kinds, and turn stray Python floats into leaves: no new program for a new value."""
    has_method("dynamics", dynamics, "step")
    has_method("observation", observation, "sample")
    has_method("analysis", analysis, "__call__")
    return numbers_to_leaves((dynamics, observation, analysis))


def _step(
    state: FilterState, modules: tuple[Any, Any, Any], y: Float[Array, " m"]
) -> tuple[FilterState, CycleOutput]:
    dynamics, observation, analysis = modules
    n = state.ensemble.shape[0]
    dtype = state.ensemble.dtype
    key = jax.random.fold_in(state.key, state.index)
    forecast_key, analysis_key = jax.random.split(key)
    interval = like(state.ensemble, dynamics.interval)
    t = state.t0 + state.index.astype(dtype) * interval
    keys = jax.random.split(forecast_key, n)
    forecast = jax.vmap(lambda k, x: dynamics.step(k, x, t))(keys, state.ensemble)
    if forecast.shape != state.ensemble.shape or forecast.dtype != dtype:
        raise ValueError(
            f"dynamics: expected `step` to return {dtype}{list(state.ensemble.shape[1:])} as it "
            f"was given, got {forecast.dtype}{list(forecast.shape[1:])}"
        )
    members, info = analysis(analysis_key, forecast, y, observation, t + interval)
    output = CycleOutput(forecast, members, y, t + interval, info)
    return state._replace(ensemble=members, index=state.index + 1), output


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
) -> FilterResult:
    """Filter a series of measurements: one `lax.scan`, one XLA program.

    Args:
        key: random key.
        dynamics: forecast model.
        observation: measurement simulator.
        analysis: `KDEDiffusion`, `EnKF`, `SIR` or your own scheme.
        ensemble: initial members at t0; its dtype is the run's.
        ys: one row per interval, the first one interval after t0; NaN is missing.
        save: what to store of each cycle, `CycleOutput` -> pytree. Use a named function: a fresh
            lambda compiles afresh.
        t0: model time of the initial ensemble.

    Returns:
        `FilterResult`; failure is a flag in `info.ok`, see `raise_if_failed`.

    Raises:
        ValueError: shapes that do not fit, fewer than two members, infinite measurements.
        TypeError: a non-floating dtype, or an argument of the wrong kind.
    """
    return resume(init(key, ensemble, t0=t0), dynamics, observation, analysis, ys, save=save)


def resume(
    state: FilterState,
    dynamics: AbstractDynamics,
    observation: AbstractObservation,
    analysis: AbstractAnalysis,
    ys: Float[Array, "t m"],
    *,
    save: Callable[[CycleOutput], Any] = save_moments,
) -> FilterResult:
    """Go on from a state; in chunks it repeats an uninterrupted run. Arguments as `assimilate`."""
    modules = _prepared(dynamics, observation, analysis)
    if not callable(save):
        raise TypeError(f"save: expected a function of CycleOutput, got {save!r}")
    ys = floating("ys", ys)
    if ys.ndim != 2:
        raise ValueError(f"ys: expected shape (cycles, m), got {ys.shape}")
    known = concrete(ys)
    if known is not None and np.isinf(known).any():
        row = int(np.argwhere(np.isinf(known))[0, 0])
        raise ValueError(f"ys: expected finite numbers or NaN (missing), got infinity in row {row}")
    return _scan(state, modules, like(state.ensemble, ys), save)


@eqx.filter_jit
def _scan(
    state: FilterState, modules: tuple[Any, Any, Any], ys: Array, save: Callable
) -> FilterResult:
    def step(state, y):
        state, output = _step(state, modules, y)
        return state, (save(output), output.info)

    state, (saved, info) = lax.scan(step, state, ys)
    return FilterResult(saved, info, state)

"""Forecasts beyond the last measurement: the ensemble goes on, and nothing is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._checks import concrete, count
from ._typing import Array, Bool, Float, Key, Scalar, like
from ._words import counted
from .analysis.base import AbstractAnalysis
from .analysis.outcome import Outcome
from .assimilation import resume
from .dynamics.base import AbstractDynamics
from .observations.base import AbstractObservation
from .runs import CycleOutput, FilterState, checked_state

QUANTILES = (0.05, 0.5, 0.95)


class Forecast(NamedTuple):
    """A forecast at t times.

    Attributes:
        times: model times, as they were given; else t0 and the time since, in float64 (in the
            ensemble's dtype inside `jit`).
        mean: of the members.
        levels: probabilities of the quantiles.
        quantiles: of the members, per coordinate.
        ok: False where half of the members were lost on the way.
        ensembles: the members, None unless they were asked for.
        state: at the last time. It goes on with the next forecast; measurements that have come
            meanwhile are assimilated from the state before.
    """

    times: Any
    mean: Float[Array, "t d"]
    levels: Float[Array, " q"]
    quantiles: Float[Array, "t q d"]
    ok: Bool[Array, " t"]
    ensembles: Float[Array, "t n d"] | None
    state: FilterState

    def __repr__(self) -> str:
        """Say what there is, not the numbers."""
        t, q, d = self.quantiles.shape[-3:]
        kept = "not kept" if self.ensembles is None else f"{self.ensembles.shape[-2]} of each time"
        return f"Forecast({counted(t, 'time')}, d={d}, {counted(q, 'quantile')}, members {kept})"


def forecast(
    state: FilterState,
    dynamics: AbstractDynamics,
    cycles: int | None = None,
    *,
    times: Any = None,
    quantiles: Sequence[float] = QUANTILES,
    ensembles: bool = False,
) -> Forecast:
    """Forecast from a state: what `assimilate` gives for rows of NaN, without a scheme.

    The members take the run's own keys and clock, so that the forecast of the next interval is the
    one that the next cycle assimilates into. Members that are not finite or absurdly far have
    stand-ins, as in a run, see `Safeguards`.

    Args:
        state: of `assimilate`, `cycle`, `resume` or `load_state`.
        dynamics: forecast model.
        cycles: number of its intervals, one after another; or give `times`.
        times: model times to forecast to, as for `assimilate`: increasing, the first later than the
            state's. Steps draw their noise by other keys than without.
        quantiles: probabilities between 0 and 1.
        ensembles: whether to keep the members as well.

    Returns:
        `Forecast`. It is compiled on first use, and works under `jit` and `vmap`.

    Raises:
        ValueError: neither or both of `cycles` and `times`; times that do not increase; a
            probability out of range.
        TypeError: an argument of the wrong kind.
    """
    levels = _levels(state, quantiles)
    if (cycles is None) == (times is None):
        raise ValueError(
            f"forecast: expected either cycles or times, got cycles={cycles}, times={times}"
        )
    if cycles is not None:
        count("cycles", cycles)
    total = np.shape(times)[0] if cycles is None and np.ndim(times) == 1 else (cycles or 1)
    nothing = like(state.ensemble, jnp.full((total, 1), jnp.nan))
    result = resume(
        state, dynamics, _Nothing(), _Unmoved(), nothing, save=_keep_ensembles, times=times
    )
    members, elapsed = result.saved
    at = jnp.moveaxis(jnp.quantile(members, levels, axis=1), 0, 1)
    return Forecast(
        _times(state, elapsed) if times is None else times,
        result.mean,
        levels,
        at,
        result.info.ok,
        members if ensembles else None,
        result.state,
    )


class _Nothing(AbstractObservation):
    """Measure nothing."""

    def sample(self, key: Key, x: Float[Array, " d"], t: Scalar) -> Float[Array, " m"]:
        """Return the value that is missing."""
        return like(x, jnp.full((1,), jnp.nan))


class _Unmoved(AbstractAnalysis):
    """Leave the members where they are."""

    def analyse(
        self,
        key: Key,
        forecast: Float[Array, "n d"],
        alive: Bool[Array, " n"],
        y: Float[Array, " m"],
        observation: AbstractObservation,
        t: Scalar,
    ) -> Outcome:
        """Return the forecast."""
        size = jnp.sum(alive).astype(forecast.dtype)
        return Outcome(forecast, jnp.mean(forecast, axis=0), size, alive)


def _keep_ensembles(output: CycleOutput) -> tuple[Array, Scalar]:
    return output.analysis, output.elapsed


def _levels(state: FilterState, quantiles: Any) -> Array:
    """Return the probabilities as an array of the ensemble's dtype."""
    known = np.asarray(quantiles, float)
    if known.ndim != 1 or known.size == 0 or not ((known >= 0) & (known <= 1)).all():
        raise ValueError(f"quantiles: expected probabilities between 0 and 1, got {quantiles!r}")
    return like(checked_state(state).ensemble, known)


def _times(state: FilterState, elapsed: Array) -> Any:
    """Return the model times of a forecast in steps of the dynamics' interval."""
    t0 = state.clock.t0
    if any(concrete(each) is None for each in jax.tree.leaves((t0, elapsed))):
        return t0.high + elapsed
    return np.float64(t0.high) + np.float64(t0.low) + np.asarray(elapsed, np.float64)

"""What a run is made of: its state, what a cycle leaves, what is stored of it, the result."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ._typing import Array, Float, Int, Key, Scalar
from .analysis.outcome import AnalysisInfo
from .clock import Clock
from .diagnosis import Diagnosis, diagnose, failure


class FilterState(NamedTuple):
    """Everything needed to go on: analysis ensemble, run key, cycles done, the time, a reserve.

    The run starts again from the reserve if a forecast leaves fewer than two members, see
    `kdediff_jax.recovery`.
    """

    ensemble: Float[Array, "n d"]
    key: Key
    index: Int[Array, ""]
    clock: Clock
    reserve: Float[Array, "n d"]

    @property
    def t0(self) -> Scalar:
        """Model time of the run's first ensemble, rounded to the ensemble's dtype."""
        return self.clock.t0.high

    @property
    def elapsed(self) -> Scalar:
        """Time since t0, summed without loss and rounded once."""
        return self.clock.elapsed.high

    @property
    def t(self) -> Scalar:
        """Model time since `origin`: what `step` gets next."""
        return self.clock.t


def checked_state(state: Any) -> FilterState:
    """Return a state; TypeError for anything else."""
    if not isinstance(state, FilterState):
        raise TypeError(f"state: expected a FilterState, got {type(state).__name__}")
    return state


class CycleOutput(NamedTuple):
    """One finished cycle: what `save` can choose from.

    Attributes:
        forecast, analysis: ensembles before and after the measurement; the forecast of a cycle
            that lost its members is the run's reserve.
        y: the measurement.
        t: its model time since `origin`, as the observation got it.
        info: the scheme's report; `info.mean` is its estimate of the posterior mean.
        elapsed: its time since t0, exact where t0 is far from 0: `np.float64(t0) + elapsed` is the
            calendar's time.
        failures: members that failed, where a simulator lives on the host (`cycle` alone), see
            `kdediff_jax.simulators`.
    """

    forecast: Float[Array, "n d"]
    analysis: Float[Array, "n d"]
    y: Float[Array, " m"]
    t: Scalar
    info: AnalysisInfo
    elapsed: Scalar
    failures: tuple[Any, ...] = ()


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
        failures: members that failed, one `Failure` each, where a simulator lives on the host; of
            many the first and the last, with counts of all, see `kdediff_jax.Failures`.
    """

    saved: Any
    info: AnalysisInfo
    state: FilterState
    failures: tuple[Any, ...] = eqx.field(static=True, default=())

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
        why, advice = failure(self.info, self.state.ensemble.shape[-2], where)
        raise RuntimeError(f"cycle {where[-1]}{run} (counted from 0) failed: {why} (try: {advice})")

    def diagnose(self) -> Diagnosis:
        """Return in words what is wrong with the run, or with each run of a batch; it prints well.

        Works on the host, outside `jit`: under- or over-dispersed (the mean of
        `info.normalised_innovation`, expected 1), weights collapsed, members masked, measurements
        rejected, failed cycles. See `kdediff_jax.diagnosis`.
        """
        spread = np.asarray(self.saved.spread) if isinstance(self.saved, Moments) else None
        return diagnose(self.info, self.state.ensemble.shape[-2], spread)

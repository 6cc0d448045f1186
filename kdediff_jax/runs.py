"""What a run is made of: its state, what a cycle leaves, what is stored of it, the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from ._files import AnyPath
from ._typing import Array, Float, Int, Key, Scalar
from .analysis.outcome import AnalysisInfo
from .clock import Clock
from .diagnosis import Diagnosis, diagnose, failure

if TYPE_CHECKING:
    import xarray as xr

    from .fields import StateSpace


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
            raise AttributeError(
                "spread: not stored by this `save`; see save_moments (with save_ensembles it is "
                "`result.saved.std(axis=1, ddof=1)`)"
            )
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

    def to_xarray(
        self,
        space: StateSpace | None = None,
        *,
        times: ArrayLike | None = None,
        measurements: ArrayLike | None = None,
        truth: ArrayLike | None = None,
        attrs: Mapping[str, str | int | float] | None = None,
    ) -> xr.Dataset:
        """Return the run, or a batch of runs, as a labelled data set. Works on the host.

        Dimensions are `cycle`, `member` and `coordinate` (or the fields' own), with `run` first for
        a batch. Variables are `mean`, `ensemble` (of the last cycle), what was stored (`spread`,
        `analysis` or `saved_...`) and the fields of `AnalysisInfo`; with a space, the field
        `temperature` becomes `temperature_mean` and so on, and `temperature` where whole ensembles
        were stored. Needs the extra `results`.

        Args:
            space: fields that the coordinates belong to, with their dimensions and units.
            times: model time of every cycle, which becomes the coordinate `time`.
            measurements: the ys that were assimilated, to have them in the same file.
            truth: true states [t d], where they are known.
            attrs: further attributes of the whole, such as `results.provenance(...)`.

        Raises:
            ValueError: shapes that do not fit; fields with a dimension called as one of a run.
            ImportError: xarray, h5netcdf or h5py is not installed.
        """
        from .results import run_dataset

        series = {"times": times, "measurements": measurements, "truth": truth}
        return run_dataset(self.saved, self.info, self.ensemble, space=space, attrs=attrs, **series)

    def to_netcdf(
        self,
        path: AnyPath,
        space: StateSpace | None = None,
        *,
        force: bool = False,
        times: ArrayLike | None = None,
        measurements: ArrayLike | None = None,
        truth: ArrayLike | None = None,
        attrs: Mapping[str, str | int | float] | None = None,
    ) -> Path:
        """Write the run to a NetCDF file, whole or not at all, and return its path.

        `kd.results.read(path)` reads it back with its checksums, and any program that knows NetCDF
        reads it too.

        Args:
            path: of the file; its folder is made.
            space: as `to_xarray`, as are the others below.
            force: whether a file that is there may be replaced.
            times: see there.
            measurements: see there.
            truth: see there.
            attrs: see there.

        Raises:
            FileExistsError: the file is there, and `force` is not set.
            OSError: the folder cannot be written, or the disk is full.
            ValueError: as `to_xarray`.
            ImportError: xarray, h5netcdf or h5py is not installed.
        """
        from .results import prepare_output, write

        prepare_output(path, force=force)
        found = self.to_xarray(
            space, times=times, measurements=measurements, truth=truth, attrs=attrs
        )
        return write(found, path, force=force)

"""Model time, kept so that no step is lost, and the schedule of irregular measurement times.

In float32 a time in seconds since 1970 is known to 64 seconds: added up there, steps of a minute
are lost. A time is therefore held as t0 and the time elapsed since, each an unevaluated sum of two
numbers of the ensemble's dtype (48 bits in float32), and is rounded once, when it is read.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._checks import concrete
from ._typing import Array, Scalar

# a whole number of steps may be missed by a rounding of the times
COARSE = 1e-2  # of an interval, in what t is known to
RELATIVE_SLACK, ABSOLUTE_SLACK = 1e-5, 1e-3


class Pair(NamedTuple):
    """A number as the unevaluated sum high + low, where high is the sum rounded."""

    high: Any
    low: Any


class Clock(NamedTuple):
    """Where a run stands in time.

    Attributes:
        t0: model time of the run's first ensemble.
        origin: model time at which the t of `step` and `sample` is 0.
        elapsed: time since t0.
    """

    t0: Pair
    origin: Pair
    elapsed: Pair

    @property
    def t(self) -> Scalar:
        """Time since `origin`, t0 - origin + elapsed, rounded once to the ensemble's dtype."""
        start, start_error = _two_sum(self.t0.high, -self.origin.high)
        total, error = _two_sum(start, self.elapsed.high)
        low = (self.t0.low - self.origin.low) + self.elapsed.low
        return total + (start_error + error + low)

    def advance(self, interval: Scalar) -> Clock:
        """Return the clock one interval later (compensated summation)."""
        total, error = _two_sum(self.elapsed.high, interval)
        return self._replace(elapsed=Pair(*_two_sum(total, error + self.elapsed.low)))

    def after(self, stride: Stride | None, interval: Scalar) -> Clock:
        """Return the clock after a stride, or one interval later where there is none."""
        return self.advance(interval) if stride is None else self._replace(elapsed=stride.elapsed)


class Stride(NamedTuple):
    """How one cycle moves in time.

    Attributes:
        interval: time that it covers, of the ensemble's dtype.
        steps: number of equal calls of the model's `step`, int32.
        elapsed: time since t0 at its end.
    """

    interval: Any
    steps: Any
    elapsed: Pair


def start(t0: Any, origin: Any, dtype: Any) -> Clock:
    """Return the clock at t0; numbers that are known are split on the host, in float64."""
    return Clock(_pair("t0", t0, dtype), _pair("origin", origin, dtype), _pair("", 0.0, dtype))


def warn_if_coarse(clock: Clock, interval: Any, at: Callable[[Scalar], Any]) -> None:
    """Warn where the t that a model gets is too coarse for its interval, and it does use t.

    Args:
        clock: the run's start.
        interval: the model's.
        at: t -> what the model and the observation make of it.
    """
    t, known = concrete(clock.t), concrete(interval)
    if t is None or known is None:
        return
    spacing = float(jnp.finfo(t.dtype).eps) * abs(float(t)) / 2
    if spacing <= COARSE * float(known):
        return
    jaxpr = jax.make_jaxpr(at)(jnp.asarray(t)).jaxpr
    read = [*jaxpr.outvars, *(v for equation in jaxpr.eqns for v in equation.invars)]
    if any(v is jaxpr.invars[0] for v in read):
        warnings.warn(
            f"t0: {float(t):.17g} is known to about {spacing:.2g} in {t.dtype}, coarse for steps "
            f"of {float(known):g} that depend on t: give origin={float(t):.17g}, and t is counted "
            "from there",
            stacklevel=3,
        )


_MANY = 1_000_000  # steps to one measurement that are more likely a mistake


def schedule(clock: Clock, times: Any, longest: Any, whole: bool) -> tuple[Stride, int | None]:
    """Return the strides to the measurement times, and a bound on the steps of each.

    Known times become differences on the host, in float64, before they take the ensemble's dtype.
    The bound is a power of two, so that few programs serve all times; None where a time is traced.

    Args:
        clock: where the run stands.
        times: model times [T], increasing, the first later than the clock's; numbers, or
            `datetime64` (seconds since 1970).
        longest: longest interval that one step covers.
        whole: a step covers exactly `longest`, so that intervals are whole multiples of it.

    Returns:
        strides, with a leading axis of T, and the bound.

    Raises:
        ValueError: times that do not increase, are not finite, or no whole number of steps apart.
        TypeError: times that are not numbers.
    """
    values = _numbers("times", times)
    if values.ndim != 1:
        raise ValueError(f"times: expected shape (cycles,), got {values.shape}")
    dtype = clock.elapsed.high.dtype
    known = [concrete(each) for each in (values, *clock.t0, *clock.elapsed, longest)]
    if any(each is None for each in known):
        return _on_device(clock, jnp.asarray(values), jnp.asarray(longest, dtype), whole), None
    at, *parts, unit = (np.asarray(each, np.float64) for each in known)
    t0, elapsed = parts[0] + parts[1], parts[2] + parts[3]
    ends = _split(_finite(at) - t0, dtype)
    # as the next call will find it: chunks repeat an uninterrupted run
    since = np.append(elapsed, np.asarray(ends.high, np.float64) + np.asarray(ends.low, np.float64))
    intervals = _increasing(at, t0, since)
    steps = _whole_steps(intervals, unit) if whole else _steps(np, intervals / unit, False)
    if steps.max(initial=0) > _MANY:
        k = int(np.argmax(steps))
        warnings.warn(
            f"times: row {k} is {steps[k]:.3g} intervals of the model after what precedes it: is "
            "`t0` missing, or `interval` in another unit (`datetime64` counts seconds since 1970)?",
            stacklevel=2,
        )
    stride = Stride(intervals.astype(dtype), steps.astype(np.int32), ends)
    return stride, 1 << max(int(steps.max(initial=1)) - 1, 0).bit_length()


def _finite(times: np.ndarray) -> np.ndarray:
    """Return the times; ValueError where one is not finite."""
    if not np.isfinite(times).all():
        k = int(np.argmin(np.isfinite(times)))
        raise ValueError(f"times: expected finite times, got {times[k]} in row {k}")
    return times


def _increasing(times: np.ndarray, t0: Any, since: np.ndarray) -> np.ndarray:
    """Return the intervals between the times since t0; ValueError where one is not positive."""
    intervals = np.diff(since)
    bad = np.flatnonzero(intervals <= 0)
    if bad.size:
        k = int(bad[0])
        raise ValueError(
            f"times: expected times that increase, the first after {t0 + since[0]:.17g}, got "
            f"{times[k]:.17g} in row {k} after {t0 + since[k]:.17g}"
        )
    return intervals


def _whole_steps(intervals: np.ndarray, unit: Any) -> np.ndarray:
    """Return how many units each interval has; ValueError where that is no whole number."""
    steps = _steps(np, intervals / unit, True)
    missed = np.abs(intervals / unit - steps)
    if (missed > ABSOLUTE_SLACK).any():
        k = int(np.argmax(missed))
        raise ValueError(
            f"times: expected whole multiples of the model's interval {unit:g}, as its `step` has "
            f"no argument `interval` (see AbstractDynamics.step), got {intervals[k]:g} before row "
            f"{k}"
        )
    return steps


def merge_series(
    *series: tuple[Any, Any], outputs: Any = ()
) -> tuple[np.ndarray, np.ndarray, list[slice]]:
    """Return several sets of measurements on one axis of times, NaN where a set says nothing.

    Args:
        series: pairs of times [T_i] and measurements [T_i m_i], one for each set.
        outputs: times without a measurement.

    Returns:
        times [T], measurements [T m_1 + m_2 + ...], and the columns of each set: an observation of
        all components measures set i in columns i.

    Raises:
        ValueError: times and measurements of different lengths, a time twice in one set.
    """
    axes = [np.asarray(times) for times, _ in series]
    tables = [np.asarray(ys) for _, ys in series]
    axis = np.unique(np.concatenate([*axes, *([np.asarray(outputs)] if len(outputs) else [])]))
    ends = np.cumsum([0, *(table.shape[-1] for table in tables)])
    merged = np.full((axis.size, ends[-1]), np.nan, np.result_type(*tables))
    columns = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]
    for k, (times, table) in enumerate(zip(axes, tables, strict=True)):
        if times.ndim != 1 or table.ndim != 2 or times.shape[0] != table.shape[0]:
            raise ValueError(
                f"series {k}: expected times (T,) and measurements (T, m), got {times.shape} and "
                f"{table.shape}"
            )
        if np.unique(times).size != times.size:
            raise ValueError(f"series {k}: expected each time once, got some twice")
        merged[np.searchsorted(axis, times), columns[k]] = table
    return axis, merged, columns


def _on_device(clock: Clock, times: Array, longest: Array, whole: bool) -> Stride:
    """Return the strides of traced times: what is wrong with them cannot be told."""
    dtype = longest.dtype
    high = times.astype(dtype)
    low = (times - high.astype(times.dtype)).astype(dtype)
    total, error = _two_sum(high, -clock.t0.high)
    ends = Pair(*_two_sum(total, error + (low - clock.t0.low)))
    first = Pair(*(jnp.reshape(jnp.asarray(each), (1,)) for each in clock.elapsed))
    before = Pair(*(jnp.concatenate([a, b[:-1]]) for a, b in zip(first, ends, strict=True)))
    intervals = (ends.high - before.high) + (ends.low - before.low)
    steps = _steps(jnp, intervals / longest, whole)
    return Stride(intervals, jnp.where(intervals > 0, steps, 0).astype(jnp.int32), ends)


def _steps(xp: Any, ratio: Any, whole: bool) -> Any:
    """Return the number of steps of at most one unit in `ratio` units, at least one."""
    steps = xp.round(ratio) if whole else xp.ceil(ratio * (1 - RELATIVE_SLACK))
    return xp.maximum(steps, 1)


def _pair(name: str, value: Any, dtype: Any) -> Pair:
    """Return a number as a pair; one that is known stays on the host, also inside `jit`."""
    value = _numbers(name, value)
    if value.shape != ():
        raise ValueError(f"{name}: expected a number, got shape {value.shape}")
    known = concrete(value)
    if known is None:
        high = jnp.asarray(value, dtype)
        return Pair(high, (value - high.astype(value.dtype)).astype(dtype))
    if not np.isfinite(known):
        raise ValueError(f"{name}: expected a finite number, got {known}")
    return _split(np.asarray(known, np.float64), dtype)


def _split(exact: np.ndarray, dtype: Any) -> Pair:
    """Return float64 numbers as pairs of another dtype."""
    high = np.asarray(exact).astype(dtype)
    return Pair(high, np.asarray(exact - high.astype(np.float64)).astype(dtype))


def _numbers(name: str, value: Any) -> Any:
    """Return times as an array of numbers, `datetime64` in seconds since 1970."""
    if concrete(value) is None and hasattr(value, "dtype"):
        return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(float)
    array = np.asarray(value)
    if array.dtype.kind == "M":
        array = (array - np.datetime64(0, "s")) / np.timedelta64(1, "s")
    if array.dtype.kind not in "iuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: expected numbers or datetime64, got {value!r}")
    return array.astype(np.float64)


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a + b rounded and its rounding error (Knuth): two numbers whose sum is exact."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)

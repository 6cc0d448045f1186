"""Model time: no step is lost, whatever the calendar and dtype; schedules of irregular times."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kdediff_jax.clock import merge_series, schedule, start

# seconds since 1970, a Julian day, a year, nanoseconds-like sizes, the far past
CALENDARS = [0.0, 1.7e9, 2460000.5, 2026.25, -6.2e10, 1.7e9 + 0.125]


@jax.jit
def run(clock, intervals):
    def step(clock, interval):
        clock = clock.advance(interval)
        return clock, (clock.t, clock.elapsed.high)

    return lax.scan(step, clock, intervals)


@pytest.mark.parametrize("t0", CALENDARS)
def test_no_step_is_lost(dtype, t0):
    expected = 60.0 * np.arange(1, 1001)
    for origin, shift in ((t0, 0.0), (t0 - 7.0, 7.0)):
        _, (t, elapsed) = run(start(t0, origin, dtype), jnp.full(1000, 60.0, dtype))
        assert t.dtype == elapsed.dtype == dtype
        np.testing.assert_array_equal(elapsed, expected)
        # t0 and origin are pairs: 48 bits of 1.7e9 are 4e-6, of -6.2e10 2e-4
        slack = 4 * abs(t0) * 2.0**-48 if dtype == "float32" else 4 * np.spacing(abs(t0))
        np.testing.assert_allclose(t, expected + shift, rtol=jnp.finfo(dtype).eps, atol=slack)


def test_a_hundred_thousand_intervals_are_summed_to_one_rounding():
    """Plain sums in float32 are 2 per cent off here, t0 + elapsed in float32 by 64."""
    tenth = np.float32(0.1)
    clock, (t, elapsed) = run(start(1.7e9, 0.0, "float32"), jnp.full(100_000, tenth))
    exact = np.arange(1, 100_001) * np.float64(tenth)
    np.testing.assert_array_equal(elapsed, exact.astype("float32"))
    assert np.count_nonzero(t != (1.7e9 + exact).astype("float32")) <= 1  # a tie of the roundings
    low = np.float64(clock.elapsed.high) + np.float64(clock.elapsed.low)
    assert abs(low - exact[-1]) < 1e-8


def test_strides(dtype):
    times = 1.7e9 + np.array([0.5, 1.0, 3.25, 3.5, 13.5])
    stride, bound = schedule(start(1.7e9, 0.0, dtype), times, 1.0, False)
    np.testing.assert_array_equal(stride.interval, [0.5, 0.5, 2.25, 0.25, 10.0])
    np.testing.assert_array_equal(stride.steps, [1, 1, 3, 1, 10])
    np.testing.assert_array_equal(stride.elapsed.high, times - 1.7e9)
    assert bound == 16 and stride.interval.dtype == dtype
    # chunks: the clock after two strides finds the same ones
    clock = start(1.7e9, 0.0, dtype)
    clock = clock.after(jax.tree.map(lambda x: x[1], stride), None)
    rest, _ = schedule(clock, times[2:], 1.0, False)
    for a, b in zip(jax.tree.leaves(rest), jax.tree.leaves(stride), strict=True):
        np.testing.assert_array_equal(a, b[2:])


def test_an_interval_of_whole_steps_is_not_one_step_more(dtype):
    """The times 0.1 k are k steps of 0.1 though neither is a binary number."""
    tenth = jnp.asarray(0.1, dtype)
    ks = np.cumsum([1, 2, 3, 1, 30, 1000])
    for whole in (False, True):
        stride, _ = schedule(start(0.0, 0.0, dtype), 0.1 * ks, tenth, whole)
        np.testing.assert_array_equal(stride.steps, [1, 2, 3, 1, 30, 1000])


def test_traced_times_give_the_same_strides(dtype):
    times = np.array([0.5, 1.0, 3.25, 3.5, 13.5])
    known, _ = schedule(start(-2.0, 0.0, dtype), times, 1.0, False)

    @jax.jit
    def traced(clock, times, longest):
        stride, bound = schedule(clock, times, longest, False)
        assert bound is None
        return stride

    found = traced(start(-2.0, 0.0, dtype), jnp.asarray(times, dtype), 1.0)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(known), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_dates_are_seconds_since_1970():
    dates = np.datetime64("2026-03-22T00:00") + np.array([0, 60, 90]).astype("timedelta64[s]")
    stride, _ = schedule(start(dates[0], dates[0], "float32"), dates[1:], 60.0, False)
    np.testing.assert_array_equal(stride.elapsed.high, [60, 90])
    np.testing.assert_array_equal(stride.interval, [60, 30])


NAN = float("nan")
BAD = {
    "falls": ([1.0, 3.0, 2.0], False, ValueError, "got 2 in row 2 after 3"),
    "stands": ([1.0, 1.0], False, ValueError, "got 1 in row 1 after 1"),
    "at t0": ([0.0, 1.0], False, ValueError, "the first after 0, got 0 in row 0"),
    "before t0": ([-1.0, 1.0], False, ValueError, "got -1 in row 0"),
    "not a number": ([1.0, NAN, 2.0], False, ValueError, "got nan in row 1"),
    "infinite": ([1.0, float("inf")], False, ValueError, "got inf in row 1"),
    "a table": ([[1.0, 2.0]], False, ValueError, r"shape \(cycles,\), got \(1, 2\)"),
    "text": (["1.0"], False, TypeError, "numbers or datetime64"),
    "not whole": ([1.0, 2.5], True, ValueError, "whole multiples .* got 1.5 before row 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_times_are_named(case):
    times, whole, error, message = BAD[case]
    with pytest.raises(error, match=rf"^times: .*{message}"):
        schedule(start(0.0, 0.0, "float32"), times, 1.0, whole)


@pytest.mark.parametrize(
    ("t0", "error"), [(NAN, ValueError), ("x", TypeError), ([1.0], ValueError)]
)
def test_bad_t0_is_named(t0, error):
    with pytest.raises(error, match=r"^t0: expected"):
        start(t0, 0.0, "float32")


def test_series_share_one_axis():
    a = np.array([1.0, 3.0]), np.array([[1.0, 2.0], [3.0, 4.0]])
    b = np.array([0.5, 3.0, 4.0]), np.array([[5.0], [6.0], [7.0]])
    times, ys, columns = merge_series(a, b, outputs=[2.0, 3.0])
    np.testing.assert_array_equal(times, [0.5, 1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(
        ys, [[NAN, NAN, 5], [1, 2, NAN], [NAN, NAN, NAN], [3, 4, 6], [NAN, NAN, 7]]
    )
    assert columns == [slice(0, 2), slice(2, 3)]
    with pytest.raises(ValueError, match=re.escape("series 1: expected times (T,)")):
        merge_series(a, (b[0][:2], b[1]))
    with pytest.raises(ValueError, match="series 0: expected each time once"):
        merge_series(([1.0, 1.0], np.ones((2, 1))))

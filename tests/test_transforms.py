"""Transforms: exact inverses in both precisions, extremes included, slopes, circles, bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd

BOUNDED = {
    "positive": (kd.Positive(), 0.0, np.inf),
    "positive, units": (kd.Positive(1e-9), 0.0, np.inf),
    "softplus": (kd.Softplus(), 0.0, np.inf),
    "softplus, units": (kd.Softplus(1e-3), 0.0, np.inf),
    "fraction": (kd.Interval(), 0.0, 1.0),
    "interval": (kd.Interval(-40.0, 60.0), -40.0, 60.0),
    "far interval": (kd.Interval(1000.0, 1001.0), 1000.0, 1001.0),
}
EVERY = pytest.mark.parametrize(("transform", "lower", "upper"), BOUNDED.values(), ids=BOUNDED)


@EVERY
def test_values_come_back(transform, lower, upper, dtype):
    """To the rounding of u: relative where v is a logarithm, else to a rounding of the bounds."""
    eps = jnp.finfo(dtype).eps
    if np.isinf(upper):
        largest = 30 if dtype == "float32" else 250
        v = jnp.asarray(10.0 ** np.linspace(-largest, largest, 401), dtype)
        u = transform.inverse(v)
        allowed = 4 * eps * np.maximum(1, np.maximum(abs(np.log(v)), 25)) * v
    else:
        v = jnp.asarray(lower + (upper - lower) * np.linspace(0, 1, 401), dtype)
        u = transform.inverse(v)
        allowed = 4 * eps * max(abs(lower), abs(upper), upper - lower)
    back = transform.forward(u)
    assert u.dtype == back.dtype == dtype
    assert np.all(np.isfinite(u)) and np.all(np.diff(u) > 0)
    assert np.all(np.abs(np.asarray(back) - np.asarray(v)) <= allowed)


@EVERY
def test_coordinates_come_back(transform, lower, upper, x64):
    u = jnp.linspace(-12.0, 12.0, 301) * (1e-3 if transform is BOUNDED["softplus, units"][0] else 1)
    scale = float(jnp.max(jnp.abs(u)))
    np.testing.assert_allclose(transform.inverse(transform.forward(u)), u, atol=1e-5 * scale)


@EVERY
def test_extremes_stay_inside_and_finite(transform, lower, upper, dtype):
    limits = jnp.finfo(dtype)
    far = jnp.asarray([-limits.max, -1e5, -1e3, -90.0, 90.0, 1e3, 1e5, limits.max], dtype)
    v = np.asarray(transform.forward(far))
    assert np.all(np.isfinite(v)) and np.all(v >= lower) and np.all(v <= upper)
    assert np.all(np.diff(v) >= 0) and (np.isfinite(upper) or np.all(v > 0))
    outside = jnp.asarray([lower, np.nextafter(lower, -np.inf), lower - 1, min(upper, 1e30)], dtype)
    assert np.all(np.isfinite(transform.inverse(outside)))
    assert np.isnan(transform.forward(jnp.asarray(jnp.nan, dtype)))
    assert np.all(np.isfinite(jax.vmap(jax.grad(transform.forward))(far)))


def test_the_slopes_are_those_of_the_formulas(x64):
    u = jnp.asarray([-3.0, -0.2, 0.7, 4.0])
    slope = lambda transform: jax.vmap(jax.grad(transform.forward))(u)  # noqa: E731
    np.testing.assert_allclose(slope(kd.Positive(2.0)), 2 * np.exp(u))
    np.testing.assert_allclose(slope(kd.Softplus(0.5)), 1 / (1 + np.exp(-u / 0.5)))
    p = 1 / (1 + np.exp(-u))
    np.testing.assert_allclose(slope(kd.Interval(-1.0, 3.0)), 4 * p * (1 - p))
    np.testing.assert_allclose(slope(kd.Angle()), 1)
    np.testing.assert_array_equal(slope(kd.Unbounded()), 1)


def test_the_identity_is_exact(dtype):
    u = jnp.asarray([-1e30, 0.1, 7.0], dtype)
    np.testing.assert_array_equal(kd.Unbounded().forward(u), u)
    np.testing.assert_array_equal(kd.Unbounded().inverse(u), u)


def test_a_floor_and_a_margin_hold_back_what_is_on_a_bound(dtype):
    value = jnp.asarray([0.0, 1e-3], dtype)
    np.testing.assert_allclose(kd.Positive(floor=1e-3).inverse(value), np.log(1e-3), rtol=1e-6)
    floored = kd.Softplus(floor=1e-3).inverse(value)
    np.testing.assert_array_equal(floored[0], floored[1])
    ends = kd.Interval(0.0, 10.0, margin=0.01).inverse(jnp.asarray([0.0, 10.0], dtype))
    np.testing.assert_allclose(ends, [np.log(0.01 / 0.99), np.log(0.99 / 0.01)], rtol=1e-5)


@pytest.mark.parametrize("angle", [kd.Angle(), kd.Angle(360.0, -180.0)], ids=["radian", "degree"])
def test_angles_lie_in_one_turn_and_compare_on_the_circle(angle, dtype):
    period, lower = float(angle.period), float(angle.lower)
    u = jnp.asarray(np.linspace(-3 * period, 3 * period, 1201), dtype)
    u = jnp.concatenate([u, jnp.asarray([-1e-30, -jnp.finfo(dtype).tiny, 1e-30], dtype)])
    v = angle.forward(u)
    assert np.all(v >= np.asarray(lower, dtype)) and np.all(v < np.asarray(lower + period, dtype))
    # the same point of the circle, and back on the same turn
    tolerance = 16 * float(jnp.finfo(dtype).eps) * period
    np.testing.assert_allclose(angle.difference(v, u), 0, atol=tolerance)
    near = u + jnp.asarray(0.49 * period, dtype)
    np.testing.assert_allclose(angle.inverse(v, near), u, atol=tolerance)
    inside = jnp.asarray(lower + period * np.linspace(0, 0.999, 50), dtype)
    np.testing.assert_allclose(angle.forward(angle.inverse(inside)), inside, atol=tolerance)


def test_differences_of_angles_take_the_short_way(x64):
    degrees = kd.Angle(360.0)
    a, b = jnp.asarray([359.0, 1.0, 180.0, 10.0]), jnp.asarray([1.0, 359.0, 10.0, 730.0])
    np.testing.assert_allclose(degrees.difference(a, b), [-2, 2, 170, 0])


def test_blocks_are_their_parts_side_by_side(dtype):
    blocks = kd.Blocks((kd.Positive(), 2), (kd.Angle(), 1), (kd.Interval(), 2))
    v = jnp.asarray([[0.1, 20.0, 0.5, 0.2, 0.9], [3.0, 1e-3, 6.0, 0.5, 0.1]], dtype)
    near = jnp.full(v.shape, 10.0, dtype)
    u = blocks.inverse(v, near)
    np.testing.assert_array_equal(u[:, :2], kd.Positive().inverse(v[:, :2]))
    np.testing.assert_array_equal(u[:, 2:3], kd.Angle().inverse(v[:, 2:3], near[:, 2:3]))
    np.testing.assert_array_equal(u[:, 3:], kd.Interval().inverse(v[:, 3:]))
    np.testing.assert_allclose(blocks.forward(u), v, rtol=1e-5)
    assert sum(blocks.sizes) == 5


def test_numbers_are_leaves():
    assert len(jax.tree.leaves(kd.Blocks((kd.Interval(0, 2), 3), (kd.Positive(), 1)))) == 5


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: kd.Positive(0.0), ValueError, "scale"),
        (lambda: kd.Positive(floor=-1.0), ValueError, "floor"),
        (lambda: kd.Softplus(-1.0), ValueError, "scale"),
        (lambda: kd.Interval(1.0, 1.0), ValueError, "lower, upper"),
        (lambda: kd.Interval(0.0, float("inf")), ValueError, "finite bounds"),
        (lambda: kd.Interval(margin=0.5), ValueError, "margin"),
        (lambda: kd.Angle(-1.0), ValueError, "period"),
        (lambda: kd.Blocks(), ValueError, "got none"),
        (lambda: kd.Blocks(kd.Positive()), TypeError, "pairs"),
        (lambda: kd.Blocks(("log", 2)), TypeError, "such as `Positive"),
        (lambda: kd.Blocks((kd.Positive(), 0)), ValueError, "parts: expected at least 1"),
        (
            lambda: kd.Blocks((kd.Positive(), 2)).forward(jnp.zeros(3)),
            ValueError,
            r"expected 2 coordinates, got shape \(3,\)",
        ),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()

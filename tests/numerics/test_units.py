"""Powers of two as units: exact, in every magnitude, and 1 where there is no size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from kdediff_jax.numerics import binary_unit, unit_of_spread


def test_it_is_the_power_of_two_below(dtype):
    largest = 37 if dtype == jnp.float32 else 300
    sizes = np.concatenate([10.0 ** np.arange(-largest, largest + 1), 2.0 ** np.arange(-9, 9)])
    unit = np.asarray(jax.jit(binary_unit)(jnp.asarray(sizes, dtype)))
    assert unit.dtype == dtype
    np.testing.assert_array_equal(np.frexp(unit)[0], 0.5)  # nothing but a power of two
    ratio = np.asarray(sizes, dtype) / unit
    assert ((ratio >= 1) & (ratio < 2)).all()


def test_no_size_is_one(dtype):
    sizes = jnp.asarray([0.0, -1.0, np.nan, np.inf], dtype)
    np.testing.assert_array_equal(jax.jit(binary_unit)(sizes), 1)


def test_the_unit_of_a_column_follows_its_spread_not_its_value(dtype):
    x = jnp.asarray([[1e6, 3e-9, 0.0], [1e6 + 4, -3e-9, 0.0]], dtype)
    np.testing.assert_array_equal(unit_of_spread(x), [2, 2.0**-29, 1])


def test_rounding_of_a_constant_is_in_units_of_its_value(dtype):
    x = jnp.full((3, 1), 1e6, dtype)
    eps = float(jnp.finfo(dtype).eps)
    assert 0.5 * eps * 1e6 < unit_of_spread(x)[0] <= eps * 1e6


def test_the_spread_is_scaled_without_a_derivative(x64):
    x = jnp.array([[1.0, 2.0], [3.0, 5.0]])
    slope = jax.grad(lambda x: jnp.sum(x / unit_of_spread(x)[None]))(x)
    np.testing.assert_array_equal(slope, 1 / np.broadcast_to(unit_of_spread(x), x.shape))

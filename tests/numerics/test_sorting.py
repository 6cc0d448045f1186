"""Sorted columns against NumPy, and their derivative against that of JAX's own sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax.numerics import sort_columns


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (3,), (50, 4), (64, 2, 3), (97, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_columns_are_those_of_numpy(shape, dtype):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    x[: len(x) // 3] = x[-1]  # ties
    with jax.enable_x64(dtype == "float64"):
        found = sort_columns(jnp.asarray(x))
        batched = jax.vmap(sort_columns)(jnp.stack([x, -x]))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.sort(x, axis=0))
    np.testing.assert_array_equal(batched[1], np.sort(-x, axis=0))


def test_infinite_values_are_sorted_too_and_a_nan_makes_its_column_nan():
    x = np.random.default_rng(1).normal(size=(37, 3)).astype("float32")
    x[5, 0], x[6, 0], x[20, 1] = np.inf, -np.inf, np.nan
    found = np.asarray(sort_columns(jnp.asarray(x)))
    np.testing.assert_array_equal(found[:, [0, 2]], np.sort(x[:, [0, 2]], axis=0))
    assert np.isnan(found[:, 1]).all()


def test_columns_too_long_for_the_network_agree(monkeypatch):
    x = np.random.default_rng(2).normal(size=(40, 2)).astype("float32")
    x[3, 1] = np.nan
    network = sort_columns(jnp.asarray(x))
    monkeypatch.setattr("kdediff_jax.numerics.sorting.LONGEST", 39)
    np.testing.assert_array_equal(sort_columns(jnp.asarray(x)), network)


def test_the_derivative_is_that_of_a_sort():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(21, 3)), jnp.float32)
    weights = jnp.arange(63.0).reshape(21, 3)
    mine = jax.grad(lambda x: jnp.sum(weights * sort_columns(x) ** 2))(x)
    want = jax.grad(lambda x: jnp.sum(weights * jnp.sort(x, axis=0) ** 2))(x)
    np.testing.assert_allclose(mine, want, rtol=1e-6)

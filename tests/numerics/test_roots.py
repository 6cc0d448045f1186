"""Roots and solves of covariances in units as far apart as they come, against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax.numerics import floored_root, solve_positive

UNITS = np.array([1e9, 1.0, 1e-9])


def covariance(units=UNITS):
    root = np.random.default_rng(1).normal(size=(3, 3)) + 2 * np.eye(3)
    return units[:, None] * (root @ root.T) * units[None, :]


@pytest.mark.parametrize("units", [np.ones(3), UNITS, UNITS[::-1]], ids=["1", "1e±9", "1e∓9"])
def test_units_decide_nothing_of_a_solve(dtype, units):
    b = np.random.default_rng(2).normal(size=(3, 2))
    s, right = (np.asarray(a, dtype) for a in (covariance(units), units[:, None] * b))
    got = np.asarray(jax.jit(solve_positive)(jnp.asarray(s), jnp.asarray(right)))
    assert got.dtype == dtype
    wanted = np.linalg.solve(covariance(np.ones(3)), b)  # in good units
    tolerance = 1e-12 if dtype == np.float64 else 2e-4
    np.testing.assert_allclose(got.astype(float) * units[:, None], wanted, rtol=tolerance)


def test_stacks_are_solved_one_by_one(x64):
    s = np.stack([covariance(UNITS**k) for k in (0, 1, -1)])
    b = np.random.default_rng(3).normal(size=(3, 3, 1))
    got = solve_positive(jnp.asarray(s), jnp.asarray(b))
    for k in range(3):
        one = solve_positive(jnp.asarray(s[k]), jnp.asarray(b[k]))
        np.testing.assert_allclose(got[k], one, rtol=1e-10)


def test_a_solve_with_nothing_in_a_component(dtype):
    """A variance of zero: no division by it, and the others as if it were not there."""
    s = jnp.asarray(np.diag([4.0, 0.0]), dtype)
    got = solve_positive(s, jnp.asarray([[8.0], [0.0]], dtype))
    np.testing.assert_allclose(got, [[2], [0]], rtol=1e-5)
    slope = jax.grad(lambda s: jnp.sum(solve_positive(s, jnp.ones((2, 1), dtype))))(s)
    assert np.isfinite(slope).all()


def test_a_solve_of_a_matrix_that_is_singular_but_for_rounding(dtype):
    s = jnp.ones((3, 3), dtype)
    got = solve_positive(s, jnp.ones((3, 1), dtype))
    np.testing.assert_allclose(dot64(s, got), 1, rtol=1e-2)


def dot64(a, b):
    return np.asarray(a, float) @ np.asarray(b, float)


@pytest.mark.parametrize("units", [np.ones(3), UNITS], ids=["1", "1e±9"])
def test_the_root_is_a_root_in_any_units(dtype, units):
    c = np.asarray(covariance(units), dtype)
    root = np.asarray(jax.jit(floored_root)(jnp.asarray(c)))
    assert root.dtype == dtype and np.all(np.triu(root, 1) == 0)
    in_good_units = root.astype(float) / units[:, None]
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(
        in_good_units @ in_good_units.T, covariance(np.ones(3)), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_constant_coordinate_gets_a_small_positive_root(dtype, scale):
    c = np.zeros((3, 3), dtype)
    c[0, 0] = c[2, 2] = scale**2
    c[0, 2] = c[2, 0] = scale**2  # two coordinates that are the same
    root = np.asarray(floored_root(jnp.asarray(c)))
    assert np.isfinite(root).all() and np.all(np.diag(root) > 0)
    assert root[1, 1] < 1e-5 * scale
    np.testing.assert_allclose(root.astype(float) @ root.T.astype(float), c, atol=1e-5 * scale**2)
    assert np.isfinite(np.asarray(floored_root(jnp.zeros((2, 2), dtype)))).all()

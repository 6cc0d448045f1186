"""A Gaussian update by the system of N or of m unknowns, against NumPy's inverses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdediff_jax.ensemble import gaussian_update as module

N, D, K = 6, 3, 8


def problem(m, signal=1.0):
    """Anomalies F, A (centred, so of rank N - 1) and innovations."""
    rng = np.random.default_rng(m)
    f, a = (x - x.mean(axis=0) for x in (signal * rng.normal(size=(N, m)), rng.normal(size=(N, D))))
    return f, a, 3 * rng.normal(size=(K, m))


def inner(rows):
    return np.asarray(rows, float) @ np.asarray(rows, float).T


@pytest.mark.parametrize("m", [2, 6, 30])
def test_it_is_that_of_the_equations(x64, m):
    f, a, e = problem(m)
    found = module.gaussian_update(*map(jnp.asarray, (f, a, e)))
    inverse = np.linalg.inv(f.T @ f + np.eye(m))
    np.testing.assert_allclose(found.steps, e @ inverse @ f.T @ a, atol=1e-12)
    covariance = a.T @ a - a.T @ f @ inverse @ f.T @ a
    np.testing.assert_allclose(found.rows.T @ found.rows, covariance, atol=1e-12)
    np.testing.assert_allclose(inner(found.misfits), e @ inverse @ e.T, rtol=1e-10, atol=1e-10)
    alone = module.misfit_rows(jnp.asarray(f), jnp.asarray(e))
    np.testing.assert_allclose(inner(alone), e @ inverse @ e.T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("m", [6, 30])
def test_a_strong_signal_keeps_its_digits(m):
    """Signal over noise 1e3 in float32, where a product of F with itself has lost the noise."""
    f, a, _ = problem(m, 1e3)
    e = np.random.default_rng(0).normal(size=(K, N)) @ f  # what the members can explain
    found = module.gaussian_update(*(jnp.asarray(x, jnp.float32) for x in (f, a, e)))
    inverse = np.linalg.inv(f.T @ f + np.eye(m))
    misfits = np.einsum("ki,ij,kj->k", e, inverse, e)
    np.testing.assert_allclose(np.diag(inner(found.misfits)), misfits, rtol=2e-3)
    np.testing.assert_allclose(found.steps, e @ inverse @ f.T @ a, rtol=1e-3, atol=1e-3)


def test_gradients_are_those_of_differences(x64):
    """Of few members, whose anomalies add up to nothing: by the system of m unknowns."""
    f, a, e = (jnp.asarray(x) for x in problem(30))

    def total(scale, fewer):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "fewer_members", lambda _: fewer)
            found = module.gaussian_update(scale * f, a, e)
        return jnp.sum(found.misfits**2) + jnp.sum(found.rows**2) + jnp.sum(found.steps**3)

    few, many = (jax.grad(total)(jnp.asarray(0.7), fewer) for fewer in (True, False))
    np.testing.assert_allclose(few, many, rtol=1e-9)

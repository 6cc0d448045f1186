"""Observations with additive noise: moments of their draws, densities against SciPy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import kdediff_jax as kd


def observation(std):
    return kd.GaussianObservation(kd.Linear([[1.0, 0.0, 2.0], [0.0, -1.0, 1.0]]), std)


X, H_OF_X = (0.5, 2.0, -1.0), np.array([-1.5, -3.0])


@pytest.mark.parametrize("std", [0.7, [0.2, 3.0]])
def test_observation_sample_moments(key, std):
    n, x = 4000, jnp.asarray(X)
    draws = jax.vmap(lambda k: observation(std).sample(k, x, 0.0))(jax.random.split(key, n))
    z = (np.asarray(draws) - H_OF_X) / std
    assert np.abs(z.mean(axis=0)).max() < 5 / np.sqrt(n)
    assert np.abs(np.cov(z.T) - np.eye(2)).max() < 5 * np.sqrt(2 / n)


@pytest.mark.parametrize("std", [0.7, [0.2, 3.0]])
def test_log_likelihood_is_scipys(dtype, std):
    model, x, y = observation(std), jnp.asarray(X, dtype), np.array([-1.0, 0.5])
    r = np.diag(np.broadcast_to(std, 2).astype(float) ** 2)
    np.testing.assert_allclose(jnp.diag(model.covariance(2, dtype, 0.0)), r, rtol=1e-6)
    rtol = 50 * jnp.finfo(dtype).eps
    for keep in ([0, 1], [0], [1], []):  # the others are missing
        partial = np.full(2, np.nan)
        partial[keep] = y[keep]
        got = eqx.filter_jit(model.log_likelihood)(jnp.asarray(partial, dtype), x, 0.0)
        expected = stats.norm(H_OF_X, std).logpdf(y)[keep].sum()
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=rtol)


def test_far_measurement_has_a_finite_log_likelihood():
    got = observation(1e-3).log_likelihood(jnp.asarray([1e6, 0.0]), jnp.asarray(X), 0.0)
    assert np.isfinite(got)


@pytest.mark.parametrize("make", [kd.LaplaceObservation, kd.StudentTObservation])
def test_heavy_tails_have_unit_mass_and_the_variance_stated(x64, key, make):
    obs = make(kd.Select((0,)), 0.5)
    e = jnp.linspace(-60.0, 60.0, 400_001)
    density = jnp.exp(jax.vmap(lambda y: obs.log_likelihood(y[None], jnp.zeros(1), 0.0))(e))
    step = float(e[1] - e[0])
    assert abs(float(density.sum()) * step - 1) < 1e-4
    assert abs(float((density * e**2).sum()) * step - 0.25) < 5e-3
    drawn = jax.vmap(lambda k: obs.sample(k, jnp.zeros(1), 0.0))(jax.random.split(key, 40_000))
    assert abs(float(drawn.std()) - 0.5) < 0.03
    assert float(obs.log_likelihood(jnp.array([jnp.nan]), jnp.zeros(1), 0.0)) == 0


def test_heavy_tailed_densities_are_scipys(dtype):
    e, rtol = jnp.asarray([-3.0, 0.1, 0.7], dtype), 100 * float(jnp.finfo(dtype).eps)
    laplace = kd.LaplaceObservation(kd.Identity(), 1.0).log_noise(e)
    np.testing.assert_allclose(laplace, stats.laplace(scale=0.5**0.5).logpdf(e), rtol=rtol)
    student = kd.StudentTObservation(kd.Identity(), 1.0, 5.0).log_noise(e)
    np.testing.assert_allclose(student, stats.t(5, scale=0.6**0.5).logpdf(e), rtol=rtol)
    assert laplace.dtype == student.dtype == dtype


def test_too_heavy_tails_are_named():
    with pytest.raises(ValueError, match=r"freedom: expected more than 2, got 2.0"):
        kd.StudentTObservation(kd.Identity(), 1.0, 2.0)

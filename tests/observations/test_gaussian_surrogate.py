"""Gaussian sites: moments matched, Gaussian noise given back, outliers not followed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.observations.gaussian_surrogate import GaussianSurrogate

N = 40_000
ALIVE = jnp.ones(N, bool)
LEAST = 0.25  # of the variance, the default
gaussian_sites = GaussianSurrogate()


def members():
    """Return evenly weighted quantiles of N(0, 1), so that moments are exact."""
    return jax.scipy.special.ndtri((jnp.arange(N, dtype=float) + 0.5) / N)[:, None]


def site(h, log_density, y, variance):
    y = jnp.atleast_1d(jnp.asarray(y, h.dtype))
    each = log_density(y[None] - h)
    return gaussian_sites(y, h, each, ALIVE, jnp.full_like(y, variance))


def laplace(r, scale=0.5):
    return -jnp.abs(r) / scale


@pytest.mark.parametrize("y", [-3.0, 0.0, 0.4])
def test_gaussian_noise_is_given_back(x64, y):
    variance = 0.7
    found, noise = site(members(), lambda r: -0.5 * r**2 / variance, y, variance)
    np.testing.assert_allclose(found, y, atol=2e-3)
    np.testing.assert_allclose(noise, variance, rtol=2e-3)


@pytest.mark.parametrize("y", [0.3, 2.0, 6.0])
def test_the_kalman_update_has_the_posterior_mean_of_the_density(x64, y):
    h = members()
    found, noise = site(h, laplace, y, 0.5)
    weights = jax.nn.softmax(laplace(y - h), axis=0)
    kalman = found / (1 + noise)  # prior N(0, 1)
    np.testing.assert_allclose(kalman, jnp.sum(weights * h, axis=0), atol=1e-4)
    # far out a Laplace tail pulls by its slope, whatever the distance: P / scale
    if y == 6.0:
        np.testing.assert_allclose(kalman, 2.0, atol=0.03)
        assert noise > 20


def test_a_good_measurement_is_trusted_more_than_its_variance_says(x64):
    _, noise = site(members(), laplace, 0.0, 0.5)
    assert LEAST * 0.5 <= noise[0] < 0.45


def test_what_says_nothing_or_nothing_finite_stays_as_it_is(x64):
    h = jnp.zeros((N, 3)).at[:, 2].set(jnp.linspace(0.0, 1.0, N))
    y = jnp.array([1.0, jnp.nan, 2.0])
    each = jnp.where(jnp.arange(3)[None] == 2, jnp.nan, jnp.zeros((N, 3)))
    found, noise = gaussian_sites(y, h, each, ALIVE, jnp.full(3, 0.5))
    np.testing.assert_array_equal(found, y)
    np.testing.assert_array_equal(noise, 0.5)


def test_one_weight_for_all_cannot_make_a_measurement_exact(x64):
    _, noise = site(members(), lambda r: -0.5 * (r / 1e-6) ** 2, 0.5, 0.5)
    assert noise >= LEAST * 0.5


def test_an_outlier_moves_the_analysis_less_than_an_enkf(key):
    x = jax.random.normal(key, (200, 2))
    obs = kd.LaplaceObservation(kd.Identity(), 0.5)
    trusting = kd.SpreadCorrection(outlier_threshold=jnp.inf)
    scheme = kd.EnKPF(kalman_share=1.0, inflation=1.0, spread_correction=trusting)
    y = jnp.array([5.0, 0.0])
    out, _ = scheme(key, x, y, obs, jnp.zeros(()))
    enkf, _ = kd.EnKF()(key, x, y, obs, jnp.zeros(()))
    weights = jax.nn.softmax(jax.vmap(lambda v: obs.log_likelihood(y, v, 0.0))(x))
    exact = weights @ x
    assert abs(out.mean(axis=0) - exact)[0] < 0.5 * abs(enkf.mean(axis=0) - exact)[0]


def test_gradients_are_finite_where_one_member_has_all_the_weight(dtype):
    """The others are so far that the variance of the weighted predictions is 0."""
    h, y = jnp.asarray([[0.0], [900.0], [-700.0]], dtype), jnp.zeros(1, dtype)
    variance = jnp.full(1, 0.5, dtype)

    def total(h, y):
        sites = gaussian_sites(y, h, laplace(y[None] - h), jnp.ones(3, bool), variance)
        return sum(jnp.sum(part) for part in sites)

    found, slopes = jax.value_and_grad(total, argnums=(0, 1))(h, y)
    assert np.isfinite(found) and all(np.isfinite(slope).all() for slope in slopes)
    _, noise = gaussian_sites(y, h, laplace(y[None] - h), jnp.ones(3, bool), variance)
    np.testing.assert_allclose(noise, LEAST * 0.5, rtol=1e-6)

"""The kernel between the forecast's covariance and that of the weighted members."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdediff_jax as kd
from kdediff_jax.analysis.covariance_kernel import condition
from kdediff_jax.analysis.noise import split
from kdediff_jax.analysis.weighted_kernel import mix

EACH = 3.0
KEY = jax.random.key(5)


def both(x, y, width, std=1.0, alive=None):
    """Posteriors of members `x` measured as they are: for width h, for width 0, and mixed."""
    alive = jnp.ones(x.shape[0], bool) if alive is None else alive
    observation = kd.GaussianObservation(kd.observations.identity, std)
    measurement = split(observation, KEY, x, jnp.zeros((), x.dtype))
    smoothed, particles = (condition(x, alive, y, measurement, h) for h in (width, 0.0))
    return smoothed, particles, mix(smoothed, particles, width, EACH)


def moments(components):
    """Mean and covariance of a mixture, in NumPy."""
    w = np.exp(np.asarray(components.log_weights))
    means, root = np.asarray(components.means), np.asarray(components.root)
    mean = w @ means
    return mean, (means - mean).T @ (w[:, None] * (means - mean)) + root @ root.T


def test_a_width_of_zero_is_the_particle_filter(dtype):
    x = jax.random.normal(KEY, (50, 2), dtype)
    y = jnp.asarray([0.5, -0.5], dtype)
    _, particles, _ = both(x, y, 0.3)
    np.testing.assert_allclose(particles.means, x, rtol=1e-6)
    log_w = jax.nn.log_softmax(-0.5 * jnp.sum((y[None] - x) ** 2, axis=1))
    np.testing.assert_allclose(particles.log_weights, log_w, rtol=2e-5, atol=2e-5)
    assert jnp.max(jnp.abs(particles.root)) < 1e-6


def test_moments_of_many_weighted_members_stay(x64):
    x = jax.random.normal(KEY, (20_000, 2), x64) @ jnp.asarray([[1.0, 0.5], [0.0, 2.0]])
    _, particles, mixed = both(x, jnp.asarray([1.0, -1.0]), 0.3)
    mean, covariance = moments(mixed)
    expected_mean, expected_covariance = moments(particles)
    # the part for the forecast's kernel is 9 / ESS, about 2e-3
    np.testing.assert_allclose(mean, expected_mean, atol=1e-3)
    np.testing.assert_allclose(covariance, expected_covariance, rtol=5e-3, atol=5e-3)


def test_too_few_effective_members_leave_the_forecast_kernel(x64):
    x = jax.random.normal(KEY, (40, 8), x64)
    smoothed, particles, mixed = both(x, jnp.zeros(8), 0.5)
    assert kd.kde.effective_sample_size(particles.log_weights) < EACH * 9
    np.testing.assert_allclose(mixed.means, smoothed.means, rtol=1e-12)
    np.testing.assert_allclose(mixed.log_weights, smoothed.log_weights, rtol=1e-12)


def test_infinitely_many_members_per_direction_are_the_forecast_kernel():
    with_it, without = (
        kd.KDEDiffusion(kernel=kd.CovarianceKernel(members_per_direction=each))
        for each in (jnp.inf, 1e9)
    )
    x = jax.random.normal(KEY, (60, 1))
    observation = kd.GaussianObservation(kd.observations.identity, 0.5)
    y = jnp.asarray([1.0])
    one, other = (f(KEY, x, y, observation)[0] for f in (with_it, without))
    np.testing.assert_allclose(one, other, rtol=1e-5)
    default = kd.KDEDiffusion()(KEY, x, y, observation)[0]
    assert jnp.max(jnp.abs(default - one)) > 1e-4
    with pytest.raises(ValueError, match="members_per_direction"):
        kd.CovarianceKernel(members_per_direction=0.0)


def test_members_of_no_weight_get_none(dtype):
    x = jax.random.normal(KEY, (100, 2), dtype)
    alive = jnp.arange(100) >= 30
    _, _, mixed = both(x, jnp.zeros(2, dtype), 0.3, alive=alive)
    np.testing.assert_array_equal(jnp.isneginf(mixed.log_weights), ~alive)
    np.testing.assert_allclose(jnp.sum(jnp.exp(mixed.log_weights)), 1, rtol=1e-5)
    assert mixed.root.dtype == dtype


def test_a_measurement_far_from_every_member_is_finite(dtype):
    x = jax.random.normal(KEY, (30, 2), dtype)
    _, _, mixed = both(x, jnp.full(2, 1e4, dtype), 0.3, std=1e-3)
    assert all(not jnp.any(jnp.isnan(leaf)) for leaf in mixed)
    assert jnp.all(jnp.isfinite(mixed.means)) and jnp.all(jnp.isfinite(mixed.root))


def test_a_bent_posterior_is_drawn_better():
    """On x_2 = x_1^2, x_1 measured: distance from the curve, against the forecast's kernel."""
    x1 = jax.random.normal(KEY, (400, 1))
    x = jnp.concatenate([x1, x1**2 + 0.05 * jax.random.normal(jax.random.key(1), (400, 1))], axis=1)
    y = jnp.asarray([1.0, 1.0])
    smoothed, _, mixed = both(x, y, 0.3, std=0.3)

    def off(components):
        noise = jax.random.normal(jax.random.key(2), (400, 2)) @ components.root.T
        place = jax.random.categorical(jax.random.key(3), components.log_weights, shape=(400,))
        at = components.means[place] + noise
        return float(jnp.sqrt(jnp.mean((at[:, 1] - at[:, 0] ** 2) ** 2)))

    assert off(mixed) < 0.7 * off(smoothed)


def test_gradients_are_finite(x64):
    x = jax.random.normal(KEY, (30, 2), x64)

    def total(x, width):
        mixed = both(x, jnp.ones(2), width)[2]
        return jnp.sum(jnp.exp(mixed.log_weights) * mixed.means[:, 0]) + jnp.sum(mixed.root)

    width = jnp.asarray(0.3)
    slopes = jax.grad(total, argnums=(0, 1))(x, width)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in slopes)
    step = 1e-5
    difference = (total(x, width + step) - total(x, width - step)) / (2 * step)
    np.testing.assert_allclose(slopes[1], difference, rtol=1e-5)
